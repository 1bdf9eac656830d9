# SPDX-License-Identifier: Apache-2.0
"""A job's own way of looking for its text, on a multilingual model with random weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.inference.engine.rows import Again, EngineJob
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    EngineSettings,
    EngineStats,
    JobLanguage,
    Progress,
    WindowDone,
)
from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.call import call_of
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.fallback import Decision, decide
from stages.inference.whisper.model import LoadedModel, load_model
from stages.inference.whisper.random_model import make_random_model
from stages.values import SAMPLE_RATE, Piece, Window, WindowResult

pytestmark = pytest.mark.process

SAMPLES = 4 * SAMPLE_RATE
TONES = (200, 400, 900)
PLAIN = DecodeOptions("en", "transcribe", None, None, beam_size=2, temperatures=(0.0,))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = make_random_model(tmp_path_factory.mktemp("random"), layers=1, d_model=32)
    return load_model(
        EngineSettings(
            model=str(folder), name="random", device="cpu", compute_type="float32", batch_size=4, cpu_threads=1
        )
    )


@pytest.fixture(scope="module")
def decoder(model: LoadedModel) -> WhisperDecoder:
    return WhisperDecoder(model)


@pytest.fixture(scope="module")
def pcm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One window of each tone."""
    time = np.arange(SAMPLES) / SAMPLE_RATE
    path = tmp_path_factory.mktemp("pcm") / "tones"
    path.write_bytes(b"".join((np.sin(2 * np.pi * tone * time) * 8_000).astype("<i2").tobytes() for tone in TONES))
    return path


def task(pcm: Path, name: str, probes: tuple[int, ...] = (), **options: Any) -> DecodeTask:
    windows = tuple(
        Window(index, (Piece(0, index * SAMPLES, SAMPLES),), speech=SAMPLES, speech_end=0)
        for index in range(len(TONES))
    )
    return DecodeTask(name, str(pcm), windows, replace(PLAIN, **options), probes)


def run(decoder: WhisperDecoder, tasks: Sequence[DecodeTask]) -> list[EngineEvent]:
    events: list[EngineEvent | Progress] = []
    scheduler = Scheduler(decoder, events.append, retry_seconds=0.0)
    for item in tasks:
        scheduler.add(item)
    while batch := scheduler.take(16, timeout=0.0):
        scheduler.give(batch, decoder.run(batch.rows))
    return [event for event in events if not isinstance(event, Progress)]


def results(events: Sequence[EngineEvent], job: str = "job") -> list[WindowResult]:
    return [event.result for event in events if isinstance(event, WindowDone) and event.job_key == job]


def words(found: Sequence[WindowResult]) -> list[list[str]]:
    return [[word for part in result.segments for word in part.text.split()] for result in found]


def test_rows_that_are_generated_differently_share_no_batch(decoder: WhisperDecoder, pcm: Path) -> None:
    # Given jobs each of which wants something else of a call, and two that only choose among languages
    wanted: list[dict[str, Any]] = [
        {"no_repeat_ngram_size": 2},
        {"repetition_penalty": 1.1},
        {"suppress_numerals": True},
        {"temperatures": (0.5,)},
    ]
    alike: list[dict[str, Any]] = [{}, {"candidates": ("en", "de")}, {"temperatures": (0.0, 0.2)}]

    def key(options: dict[str, Any]) -> object:
        job = decoder.open("job", str(pcm), replace(PLAIN, **options))
        assert isinstance(job, EngineJob)
        (row,) = decoder.rows(job, task(pcm, "job").windows[:1], probe=False, language="en")
        return row.key

    # Then each of those has a key of its own, and these have one in common
    assert len({key(options) for options in wanted + alike}) == len(wanted) + 1


def test_each_option_of_a_batch_is_its_own_jobs(decoder: WhisperDecoder, pcm: Path) -> None:
    # Given jobs with and without the options, side by side
    events = run(
        decoder,
        [task(pcm, "plain"), task(pcm, "once", no_repeat_ngram_size=1), task(pcm, "spelled", suppress_numerals=True)],
    )

    # When they are done, then the plain one repeats itself, and the one that must not does not
    assert max(count for text in words(results(events, "plain")) for count in Counter(text).values()) > 1
    assert max(count for text in words(results(events, "once")) for count in Counter(text).values()) == 1
    # And where every word of the model has a digit, nothing can be spelled out
    assert all(words(results(events, "plain")))
    assert not any(words(results(events, "spelled")))


def test_a_penalty_makes_repetition_rarer(decoder: WhisperDecoder, pcm: Path) -> None:
    def repeated(**options: Any) -> int:
        found = words(results(run(decoder, [task(pcm, "job", **options)])))
        return sum(len(text) - len(set(text)) for text in found)

    assert repeated(repetition_penalty=5.0) < repeated()


@pytest.mark.parametrize("temperatures", [(0.0,), (0.4,), (0.4, 0.0), (0.0, 0.3, 0.7)])
def test_a_job_is_decoded_at_its_own_temperatures_in_order(
    model: LoadedModel, pcm: Path, temperatures: tuple[float, ...]
) -> None:
    # Given texts all of which are unlikely
    def judge(attempts: Sequence[Attempt], *rest: Any) -> Decision:
        return decide([replace(each, avg_logprob=-9.0, no_speech_prob=0.0) for each in attempts], *rest)

    decoder = WhisperDecoder(model, judge=judge)
    opened = decoder.open("job", str(pcm), replace(PLAIN, temperatures=temperatures))
    assert isinstance(opened, EngineJob)
    rows = decoder.rows(opened, task(pcm, "job").windows[:1], probe=False, language="en")
    seen = []

    # When a window is decoded for as long as its whole is
    while len(rows) == 1 and rows[0].window.samples == SAMPLES:
        seen.append((call_of(rows[0]).temperature, call_of(rows[0]).beam_size))
        (outcome,) = decoder.run(rows)
        rows = list(outcome.rows) if isinstance(outcome, Again) else []

    # Then its temperatures have had their turns, each once, and only the beam search had a beam
    assert seen == [(at, 1 if at else 2) for at in temperatures]


def test_the_language_is_one_of_the_candidates(decoder: WhisperDecoder, pcm: Path) -> None:
    # Given what the model takes the recording for
    (free,) = [e for e in run(decoder, [task(pcm, "job", (0, 1, 2), language=None)]) if isinstance(e, JobLanguage)]
    others = tuple(code for code in ("en", "de", "fr") if code != free.language)

    # When that is no candidate
    events = run(decoder, [task(pcm, "job", (0, 1, 2), language=None, candidates=others)])

    # Then one of the others is taken, as likely as it is among them
    (found,) = [event for event in events if isinstance(event, JobLanguage)]
    assert found.language in others
    assert found.probability >= 0.5
    assert {result.language for result in results(events)} == {found.language}
    assert not [event for event in events if isinstance(event, EngineStats) and event.retries]


def test_multi_chooses_among_the_candidates_window_by_window(decoder: WhisperDecoder, pcm: Path) -> None:
    free = results(run(decoder, [task(pcm, "job", language="multi")]))
    others = tuple(code for code in ("en", "de", "fr") if code != free[0].language)

    found = results(run(decoder, [task(pcm, "job", language="multi", candidates=others)]))

    assert {result.language for result in found} <= set(others)
    assert all(result.language_probability is not None and result.language_probability >= 0.5 for result in found)
