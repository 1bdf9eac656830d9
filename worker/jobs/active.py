# SPDX-License-Identifier: Apache-2.0
"""The jobs that this worker has under way, wherever in the pipeline they are."""

from __future__ import annotations

import itertools
import threading

from sqscribe.job import Job
from stages.ports import Cancellation, Clock
from worker.jobs.run import JobRun, RunSnapshot
from worker.outcomes import Stage
from worker.receive.delivery import Delivery

__all__ = ["ActiveJobs"]


class ActiveJobs:
    """Every job from the moment a downloader begins on it until the worker has let go of it. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards _runs
        self._runs: dict[str, JobRun] = {}

    def begin(self, job: Job, delivery: Delivery, cancellation: Cancellation) -> JobRun:
        """Makes the record of a job that a downloader begins on."""
        run = JobRun(
            key=f"{next(self._numbers)}-{job.job_id}",
            job=job,
            delivery=delivery,
            cancellation=cancellation,
            stage=Stage.FETCH,
            since=self._clock.now(),
        )
        with self._lock:
            self._runs[run.key] = run
        return run

    def end(self, run: JobRun) -> None:
        """Forgets a job that the worker has let go of."""
        with self._lock:
            self._runs.pop(run.key, None)

    @property
    def idle(self) -> bool:
        """Whether no job is under way."""
        with self._lock:
            return not self._runs

    def count(self, stage: Stage) -> int:
        """Number of jobs that are in a stage now."""
        return len(self.within(stage))

    def within(self, *stages: Stage) -> list[JobRun]:
        """The jobs that are in one of the stages now, the oldest first."""
        with self._lock:
            return [run for run in self._runs.values() if run.stage in stages]

    def snapshot(self) -> list[RunSnapshot]:
        """Every job, the oldest first, as it is now."""
        now = self._clock.now()
        with self._lock:
            return [run.snapshot(now) for run in self._runs.values()]
