# SPDX-License-Identifier: Apache-2.0
"""A job's record while this worker has it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from sqscribe.job import Job
from stages.ports import Cancellation
from stages.values import Media, Window, WindowResult, Windows
from worker.jobs.checkpoint import CheckpointListing, Manifest, attempt_name
from worker.outcomes import Stage
from worker.receive.delivery import Delivery
from worker.telemetry.metrics import Metrics

__all__ = ["CheckpointState", "JobRun", "RunSnapshot"]


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A job under way, for `/status`.

    Attributes:
        seconds: How long it has been in its present stage.
        audio_seconds: Length of its audio; 0 until it is segmented.
    """

    job_id: str
    stage: Stage
    seconds: float
    audio_seconds: float
    windows: int
    windows_done: int


@dataclass(slots=True, eq=False)
class CheckpointState:
    """What the store holds of a job's finished windows, as far as this attempt knows.

    Attributes:
        attempt: This attempt's name.
        may_exist: Whether there may be anything below the job's `checkpoint/`.
        listing: What earlier attempts left there.
        folder: Address of the checkpoint; empty until the audio is known.
        advanced: Whether this generation of the message has saved finished windows.
        manifest: The one in the store; None until this attempt has read or put it.
        saved: Indexes of the windows that are saved.
        increments: How many this attempt has written.
        due_at: Clock time from which on more is to be saved; None until that is first asked.
        saved_at: Clock time at which the last save ended.
    """

    attempt: str
    may_exist: bool
    listing: CheckpointListing = field(default_factory=CheckpointListing)
    folder: str = ""
    advanced: bool = False
    manifest: Manifest | None = None
    saved: set[int] = field(default_factory=set)
    increments: int = 0
    due_at: float | None = None
    saved_at: float = float("-inf")


@dataclass(slots=True, eq=False)
class JobRun:
    """One attempt at one job. It is handed from thread to thread; only the one that has it changes it.

    Attributes:
        key: Its name within this worker, unlike that of any other attempt.
        job: What is to be done.
        delivery: The message that it came with.
        cancellation: Ends the work on it.
        stage: The one that it is in.
        since: Clock time at which it got there.
        timings: Seconds that it has spent in each stage.
        scratch: Closing it removes the job's folder and gives its bytes back.
        buffered: Seconds of it that the audio buffer counts.
        results: By window index.
        language: The detected one, of a job that names none.
        checkpoint: The `CheckpointSaver`'s own; nobody else touches it.
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
    checkpoint: CheckpointState = field(init=False)
    _computed: tuple[int, float] = field(default_factory=lambda: (threading.get_ident(), time.thread_time()))

    def __post_init__(self) -> None:
        """Begins with what the delivery tells: only a job that a worker may have begun before may have checkpoints."""
        self.checkpoint = CheckpointState(attempt_name(self.delivery.lineage), may_exist=self.delivery.redelivered)

    def enter(self, stage: Stage, now: float, metrics: Metrics) -> None:
        """Notes the time that the stage before took and goes on to `stage`."""
        self.leave(now, metrics)
        self.stage = stage

    def leave(self, now: float, metrics: Metrics) -> None:
        """Notes the time that the present stage has taken."""
        seconds = now - self.since
        self.timings[self.stage] = self.timings.get(self.stage, 0.0) + seconds
        thread, before = self._computed
        self._computed = threading.get_ident(), time.thread_time()
        cpu = self._computed[1] - before if thread == self._computed[0] else None
        metrics.stage_ended(self.stage, seconds, job_key=self.key, cpu=cpu)
        self.since = now

    @property
    def complete(self) -> bool:
        """Whether every window has its result."""
        return self.windows is not None and len(self.results) == len(self.windows.windows)

    @property
    def missing(self) -> tuple[Window, ...]:
        """The windows that have no result."""
        windows = self.windows.windows if self.windows else ()
        return tuple(window for window in windows if window.index not in self.results)

    def snapshot(self, now: float) -> RunSnapshot:
        """The job as it is at clock time `now`."""
        return RunSnapshot(
            job_id=self.job.job_id,
            stage=self.stage,
            seconds=now - self.since,
            audio_seconds=self.windows.audio.seconds if self.windows else 0.0,
            windows=len(self.windows.windows) if self.windows else 0,
            windows_done=len(self.results),
        )
