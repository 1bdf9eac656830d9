# SPDX-License-Identifier: Apache-2.0
"""What the worker asks of the engine: may it be asked, and in which words. Loads no torch."""

from __future__ import annotations

from collections.abc import Container

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.job import Job
from stages.inference.protocol import DecodeOptions, DecodeTask, EngineInfo
from stages.values import Windows

__all__ = ["check_options", "decode_task", "probes"]

#: Windows that the language is detected on. One is misled by a jingle or a guest; more cost an encoder pass each.
PROBE_WINDOWS = 5


def check_options(job: Job, info: EngineInfo) -> None:
    """Refuses what the model would answer with wrong text.

    Raises:
        PermanentError: `unsupported_option`, naming the option, the model and what it can do.
    """
    if job.task == "translate" and not info.can_translate:
        raise PermanentError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"task: model {info.name} cannot translate (it is English-only, or distilled without that task); "
            "send the job to workers with a full multilingual model such as large-v3",
        )
    if job.word_timestamps and not info.can_align:
        raise PermanentError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"word_timestamps: model {info.name} has no alignment heads; leave the option out or use another model",
        )
    if job.language == "multi":
        if len(info.languages) < 2:
            raise PermanentError(
                ErrorCode.UNSUPPORTED_OPTION,
                f"language: model {info.name} knows {info.languages[0]} alone, so `multi` cannot be honoured",
            )
    elif job.language is not None and job.language not in info.languages:
        raise PermanentError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"language: model {info.name} does not know {job.language!r}; it knows {', '.join(info.languages[:8])}"
            f"{' …' if len(info.languages) > 8 else ''}",
        )


def probes(count: int, at_most: int = PROBE_WINDOWS) -> tuple[int, ...]:
    """Indexes of up to `at_most` of `count` windows, spread evenly: each in the middle of its share."""
    if count <= at_most:
        return tuple(range(count))
    return tuple(int((place + 0.5) * count / at_most) for place in range(at_most))


def decode_task(
    key: str, job: Job, windows: Windows, *, done: Container[int] = (), language: str | None = None
) -> DecodeTask:
    """Puts a job's windows into the engine's words.

    Args:
        key: The job's, for the engine.
        job: What is asked for.
        windows: All of its windows.
        done: Indexes of those that need no decoding any more.
        language: What the job was found to be in before, if it names none.
    """
    language = job.language or language
    return DecodeTask(
        job=key,
        pcm_path=str(windows.audio.path),
        windows=tuple(window for window in windows.windows if window.index not in done),
        options=DecodeOptions(
            language=language,
            task=job.task,
            initial_prompt=job.initial_prompt,
            hotwords=job.hotwords,
            beam_size=job.beam_size,
        ),
        probes=probes(len(windows.windows)) if language is None else (),
    )
