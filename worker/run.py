# SPDX-License-Identifier: Apache-2.0
"""A job's record while this worker has it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from sqscribe.job import Job
from stages.ports import Cancellation
from stages.values import Media, WindowResult, Windows
from worker.delivery import Delivery
from worker.telemetry.metrics import Metrics, Stage

__all__ = ["JobRun"]


@dataclass(slots=True, eq=False)
class JobRun:
    """One attempt at one job. It is handed from thread to thread; whoever has it in hand alone changes it.

    Attributes:
        key: Unique within this worker.
        job: What is to be done.
        delivery: The message that it came with.
        cancellation: Ends the work on it.
        stage: Where it is.
        since: Clock time at which it got there.
        timings: Seconds that it spent in each stage so far.
        scratch: Closing it removes the job's folder and gives its bytes back.
        buffered: Seconds of it that the audio buffer counts.
        results: By window index.
    """

    key: str
    job: Job
    delivery: Delivery
    cancellation: Cancellation
    stage: Stage
    since: float
    timings: dict[Stage, float] = field(default_factory=dict)
    scratch: ExitStack = field(default_factory=ExitStack)
    media: Media = field(default_factory=Media)
    windows: Windows | None = None
    buffered: float = 0.0
    results: dict[int, WindowResult] = field(default_factory=dict)
    language: str | None = None
    language_probability: float | None = None

    def enter(self, stage: Stage, now: float, metrics: Metrics) -> None:
        """Notes the time that the stage before took and goes on to `stage`."""
        self.leave(now, metrics)
        self.stage = stage

    def leave(self, now: float, metrics: Metrics) -> None:
        """Notes the time that the present stage took so far."""
        seconds = now - self.since
        self.timings[self.stage] = self.timings.get(self.stage, 0.0) + seconds
        metrics.stage_ended(self.stage, seconds)
        self.since = now

    @property
    def complete(self) -> bool:
        """Whether every window has its result."""
        return self.windows is not None and len(self.results) == len(self.windows.windows)
