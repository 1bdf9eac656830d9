# SPDX-License-Identifier: Apache-2.0
"""The jobs that the engine has: their windows go in, results come back one by one."""

from __future__ import annotations

import threading

import structlog

from sqscribe.logs import bind
from stages.inference.protocol import Engine, JobLanguage, WindowDone
from stages.inference.request import decode_task
from stages.values import WindowResult
from worker.jobs.buffer import AudioBuffer
from worker.jobs.run import JobRun
from worker.outcomes import Stage

__all__ = ["JobsInEngine"]

log = structlog.get_logger()


class JobsInEngine:
    """Owns a job from its admission until its last result, or until it is taken away. Thread-safe.

    A job leaves once: with its last result, or by `take`, `withdraw` or `rejected`; whoever it goes to owns it from
    there.
    """

    def __init__(self, engine: Engine, buffer: AudioBuffer) -> None:
        self._engine = engine
        self._buffer = buffer
        self._lock = threading.Lock()  # guards _runs, _keys, and results and language of every run in them
        self._runs: dict[str, JobRun] = {}  # by the engine's key
        self._keys: dict[str, str] = {}  # the engine's key, by the run's own

    # -- coming ----------------------------------------------------------------------------------------------------

    def begin(self, run: JobRun) -> None:
        """Sends a job's missing windows to the engine; their seconds are admitted to the buffer."""
        self._send(run, run.key)

    def begin_again(self, run: JobRun) -> None:
        """Sends the windows of a job that was withdrawn, under a key that no event of its first time bears."""
        self._send(run, f"{run.key}/adopted")

    def _send(self, run: JobRun, job_key: str) -> None:
        if run.windows is None:
            raise RuntimeError("a job without windows has nothing to decode")
        task = decode_task(job_key, run.job, run.windows, done=run.results, language=run.language)
        with self._lock:
            self._runs[job_key] = run
            self._keys[run.key] = job_key
        self._engine.submit(task)

    # -- being here ------------------------------------------------------------------------------------------------

    def all(self) -> list[JobRun]:
        """Every job, the oldest first."""
        with self._lock:
            return list(self._runs.values())

    def progress(self) -> list[tuple[JobRun, int]]:
        """Every job that still lacks results, the oldest first, with the number of those that it has."""
        with self._lock:
            return [(run, len(run.results)) for run in self._runs.values() if not run.complete]

    def results(self, run: JobRun) -> dict[int, WindowResult]:
        """The results that a job has now, by window index."""
        with self._lock:
            return dict(run.results)

    # -- the engine's events ---------------------------------------------------------------------------------------

    def settle_language(self, event: JobLanguage) -> None:
        """Notes a job's language."""
        with self._lock:
            run = self._runs.get(event.job_key)
            if run:
                run.language, run.language_probability = event.language, event.probability

    def window_done(self, event: WindowDone) -> bool:
        """Notes a result; False if nobody waits for it."""
        with self._lock:
            run = self._runs.get(event.job_key)
            if run is None or run.windows is None or event.result.index in run.results:
                return False
            run.results[event.result.index] = event.result
            seconds = min(run.buffered, run.windows.windows[event.result.index].seconds)
            run.buffered -= seconds
        self._buffer.give_back(seconds)
        if event.result.dropped:
            with bind(job=run.job.job_id, stage=Stage.INFERENCE):
                log.info("window_dropped", window=event.result.index, reason=event.result.dropped)
        return True

    # -- leaving ---------------------------------------------------------------------------------------------------

    def complete(self, job_key: str) -> JobRun | None:
        """Takes a job out if it has all its results.

        Args:
            job_key: The engine's name for it.
        """
        with self._lock:
            run = self._runs.get(job_key)
            if run is None or not run.complete:
                return None
            self._remove(run)
            return run

    def rejected(self, job_key: str) -> JobRun | None:
        """Takes out a job that the engine refuses; None when it is no longer there.

        Args:
            job_key: The engine's name for it.
        """
        with self._lock:
            run = self._runs.get(job_key)
            if run is None:
                return None
            self._remove(run)
        self._give_back(run)
        return run

    def take(self, run: JobRun) -> bool:
        """Takes a job away from the engine for good; False when it has left already, or has all its results."""
        if not self.withdraw(run):
            return False
        self._give_back(run)
        return True

    def withdraw(self, run: JobRun) -> bool:
        """Takes a job away that is to begin again: its seconds stay in the buffer. False as `take` says it."""
        with self._lock:
            if run.key not in self._keys or run.complete:
                return False
            job_key = self._remove(run)
        self._engine.cancel(job_key)
        return True

    def _remove(self, run: JobRun) -> str:
        job_key = self._keys.pop(run.key)
        del self._runs[job_key]
        return job_key

    def _give_back(self, run: JobRun) -> None:
        self._buffer.give_back(run.buffered)
        run.buffered = 0.0
