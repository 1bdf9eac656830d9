# SPDX-License-Identifier: Apache-2.0
"""From a job to a task for the engine, and the check that its model can do it. Loads no torch."""

from __future__ import annotations

from collections.abc import Container

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.job import Job
from stages.inference.abilities import inability
from stages.inference.protocol import PROBE_WINDOWS, DecodeOptions, DecodeTask, EngineInfo
from stages.values import Windows

__all__ = ["check_options", "decode_task", "probes"]


def check_options(job: Job, info: EngineInfo) -> None:
    """Refuses what the model would answer with wrong text.

    Raises:
        PermanentError: `unsupported_option`, naming the option, the model and what it can do.
    """
    why = inability(info, _options(job, job.language), word_timestamps=job.word_timestamps)
    if why is not None:
        raise PermanentError(ErrorCode.UNSUPPORTED_OPTION, why)


def probes(count: int, at_most: int = PROBE_WINDOWS) -> tuple[int, ...]:
    """Indexes of up to `at_most` of `count` windows, spread evenly: each in the middle of its share."""
    if count <= at_most:
        return tuple(range(count))
    return tuple(int((place + 0.5) * count / at_most) for place in range(at_most))


def decode_task(
    job_key: str, job: Job, windows: Windows, *, done: Container[int] = (), language: str | None = None
) -> DecodeTask:
    """Makes a task for the engine of a job's windows.

    Args:
        job_key: The engine's name for it.
        job: What is asked for.
        windows: All of its windows.
        done: Indexes of those that need no decoding any more.
        language: What the job was found to be in before, if it names none.
    """
    language = job.language or language
    return DecodeTask(
        job_key=job_key,
        pcm_path=str(windows.audio.path),
        windows=tuple(window for window in windows.windows if window.index not in done),
        options=_options(job, language),
        probes=probes(len(windows.windows)) if language is None else (),
    )


def _options(job: Job, language: str | None) -> DecodeOptions:
    return DecodeOptions(
        language=language,
        task=job.task,
        initial_prompt=job.initial_prompt,
        hotwords=job.hotwords,
        beam_size=job.beam_size,
        temperatures=job.tuning.temperature,
        no_repeat_ngram_size=job.tuning.no_repeat_ngram_size,
        repetition_penalty=job.tuning.repetition_penalty,
        suppress_numerals=job.tuning.suppress_numerals,
        candidates=job.tuning.languages,
    )
