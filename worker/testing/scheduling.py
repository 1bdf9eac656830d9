# SPDX-License-Identifier: Apache-2.0
"""A scheduler on a clock that a test moves, tasks and windows for it, and outcomes of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from stages.inference.engine.rows import Again, Batch, Finished, Outcome, Probed, Row
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    EngineSettings,
    Progress,
    WindowDone,
    WindowKey,
)
from stages.values import SAMPLE_RATE, Piece, Window
from worker.testing.decoder import SimulatedDecoder, Simulation, simulated_result

__all__ = ["RETRY_SECONDS", "SUSPECT_SECONDS", "SchedulerBench", "again", "done", "names", "probed", "task", "window"]

#: Longest that a retry waits for company.
RETRY_SECONDS = 1.0
#: Longest that suspects wait behind others.
SUSPECT_SECONDS = 30.0


class SchedulerBench:
    """A scheduler on a clock of its own, with everything that it said."""

    def __init__(self, languages: tuple[str, ...] = ("en", "de"), suspects: Sequence[Sequence[WindowKey]] = ()) -> None:
        self.time = 100.0
        self.events: list[EngineEvent] = []
        self.beats: list[Progress] = []
        decoder = SimulatedDecoder(Simulation(languages=languages), EngineSettings(model="", name="simulated"))
        self.scheduler = Scheduler(
            decoder,
            self.hear,
            retry_seconds=RETRY_SECONDS,
            suspects=suspects,
            suspect_seconds=SUSPECT_SECONDS,
            now=lambda: self.time,
        )

    def hear(self, event: EngineEvent | Progress) -> None:
        """Takes what the scheduler says."""
        if isinstance(event, Progress):
            self.beats.append(event)
        else:
            self.events.append(event)

    def add(self, job: str, windows: Iterable[int], probes: tuple[int, ...] = (), **options: Any) -> None:
        """Adds a job with these windows."""
        self.scheduler.add(task(job, windows, probes, **options))

    def take(self, limit: int = 100) -> Batch:
        """The next batch, of at most so many rows; there has to be one."""
        batch = self.scheduler.take(limit, timeout=0.0)
        if batch is None:
            raise LookupError("no batch is ready")
        return batch

    def nothing_to_take(self, limit: int = 100) -> bool:
        """Whether no batch is ready."""
        return self.scheduler.take(limit, timeout=0.0) is None

    def work(self, limit: int = 100, outcome: Callable[[Row], Outcome] | None = None) -> list[tuple[str, int]]:
        """Takes a batch, gives it back as done, and says which windows it held."""
        batch = self.take(limit)
        dealt = names(batch.rows)
        self.scheduler.give(batch, [(outcome or done)(row) for row in batch.rows])
        return dealt

    def said(self, kind: type[EngineEvent]) -> list[EngineEvent]:
        """The events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def finished(self) -> list[tuple[str, int]]:
        """Jobs and windows that are done, in order."""
        return [(event.job_key, event.result.index) for event in self.events if isinstance(event, WindowDone)]


def task(job: str, windows: Iterable[int], probes: tuple[int, ...] = (), **options: Any) -> DecodeTask:
    """A job in English with these windows, unless the options say otherwise."""
    given = DecodeOptions(language="en", task="transcribe", initial_prompt=None, hotwords=None, beam_size=5)
    return DecodeTask(
        job,
        f"/nowhere/{job}.pcm",
        tuple(map(window, windows)),
        replace(given, **options),
        probes,
    )


def window(index: int, seconds: float = 10.0, speech: float | None = None) -> Window:
    """A window of a recording that is cut into equal ones; all of it is speech unless told."""
    samples = int(seconds * SAMPLE_RATE)
    spoken = samples if speech is None else int(speech * SAMPLE_RATE)
    return Window(index, (Piece(0, index * samples, samples),), speech=spoken, speech_end=samples)


def names(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Jobs and windows of rows."""
    return [(row.job.job_key, row.window.index) for row in rows]


def done(row: Row) -> Outcome:
    """The row is decoded."""
    return Finished(row.job.job_key, simulated_result(row.window, "text", row.language or "en"))


def probed(row: Row, language: str = "de") -> Outcome:
    """The row's language is found."""
    row.encoded = "encoder output"
    return Probed(row, {"en": 0.0, "de": 0.0, language: 1.0})


def again(row: Row, temperature: float = 0.2) -> Outcome:
    """The row needs another try."""
    row.key = row.key._replace(kind="retry", terms=temperature)
    return Again((row,), "logprob")
