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
from worker.jobs.checkpoint import Manifest
from worker.outcomes import Stage
from worker.receive.delivery import Delivery
from worker.telemetry.metrics import Metrics

__all__ = ["CheckpointState", "JobRun", "RunSnapshot"]


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A job under way, for `/status`.

    Attributes:
        seconds: In its present stage.
        audio_seconds: Of its speech windows; 0 until it is segmented.
    """

    job: str
    stage: Stage
    seconds: float
    audio_seconds: float
    windows: int
    windows_done: int


@dataclass(slots=True, eq=False)
class CheckpointState:
    """What of a job stands in the store, as far as this attempt knows. Guarded by `Decoding` while the engine has it.

    Attributes:
        attempt: This attempt's name.
        folder: Address of the checkpoint; empty until the audio is known.
        exists: Whether there may be anything below the job's `checkpoint/`.
        advanced: Whether this generation of the message has saved finished windows.
        manifest: The one that stands; None until this attempt has read or put it.
        windows: Indexes of the windows that are saved.
        increments: How many this attempt has written.
        due_at: Clock time from which on more is to be saved.
        saved_at: Clock time at which the last save ended.
        busy: Whether an uploader is at it, or is about to be.
    """

    attempt: str
    folder: str = ""
    exists: bool = False
    advanced: bool = False
    manifest: Manifest | None = None
    windows: set[int] = field(default_factory=set)
    increments: int = 0
    due_at: float = 0.0
    saved_at: float = float("-inf")
    busy: bool = False


@dataclass(slots=True, eq=False)
class JobRun:
    """One attempt at one job. It is handed from thread to thread; whoever has it in hand alone changes it.

    Attributes:
        key: Unique within this worker.
        job: What is to be done.
        delivery: The message that it came with.
        checkpoint: What of it stands in the store.
        cancellation: Ends the work on it.
        stage: Where it is.
        since: Clock time at which it got there.
        timings: Seconds that it spent in each stage so far.
        scratch: Closing it removes the job's folder and gives its bytes back.
        buffered: Seconds of it that the audio buffer counts.
        results: By window index.
        language: The settled one, of a job that names none.
    """

    key: str
    job: Job
    delivery: Delivery
    checkpoint: CheckpointState
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
    _computed: tuple[int, float] = field(default_factory=lambda: (threading.get_ident(), time.thread_time()))

    def enter(self, stage: Stage, now: float, metrics: Metrics) -> None:
        """Notes the time that the stage before took and goes on to `stage`."""
        self.leave(now, metrics)
        self.stage = stage

    def leave(self, now: float, metrics: Metrics) -> None:
        """Notes the time that the present stage took so far."""
        seconds = now - self.since
        self.timings[self.stage] = self.timings.get(self.stage, 0.0) + seconds
        thread, before = self._computed
        self._computed = threading.get_ident(), time.thread_time()
        cpu = self._computed[1] - before if thread == self._computed[0] else None
        metrics.stage_ended(self.stage, seconds, job=self.key, cpu=cpu)
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
        """As it is at clock time `now`."""
        return RunSnapshot(
            job=self.job.job_id,
            stage=self.stage,
            seconds=now - self.since,
            audio_seconds=self.windows.audio.seconds if self.windows else 0.0,
            windows=len(self.windows.windows) if self.windows else 0,
            windows_done=len(self.results),
        )
