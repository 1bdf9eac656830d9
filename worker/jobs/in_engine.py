# SPDX-License-Identifier: Apache-2.0
"""The jobs that the engine has: their windows go in, results come back one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from sqscribe.logs import bind
from stages.inference.protocol import Engine, JobLanguage, WindowDone
from stages.inference.request import decode_task
from stages.values import WindowResult
from worker.jobs.buffer import AudioBuffer
from worker.jobs.checkpoint import Manifest
from worker.jobs.run import JobRun
from worker.outcomes import Stage

__all__ = ["Decoding"]

log = structlog.get_logger()


class Decoding:
    """Owns a job from its admission until its last result, or until it is taken away. Thread-safe.

    A job leaves once: with its last result, or by `take`; whoever it goes to owns it from there. A job that is being
    saved stays until that is over, so that what is saved is never written behind the back of what removes it.
    """

    def __init__(self, engine: Engine, buffer: AudioBuffer) -> None:
        self._engine = engine
        self._buffer = buffer
        self._lock = (
            threading.Lock()
        )  # guards _runs, _keys, and results, language and `checkpoint` of every run in them
        self._runs: dict[str, JobRun] = {}  # by the engine's name for it
        self._keys: dict[str, str] = {}  # that name, by the run's key

    def begin(self, run: JobRun) -> None:
        """Sends a job's missing windows to the engine; their seconds are admitted to the buffer."""
        self._send(run, run.key)

    def _send(self, run: JobRun, key: str) -> None:
        if run.windows is None:
            raise RuntimeError("a job without windows has nothing to decode")
        task = decode_task(key, run.job, run.windows, done=run.results, language=run.language)
        with self._lock:
            self._runs[key] = run
            self._keys[run.key] = key
        self._engine.submit(task)

    # -- the engine's events ---------------------------------------------------------------------------------------

    def settle_language(self, event: JobLanguage) -> None:
        """Notes a job's language."""
        with self._lock:
            run = self._runs.get(event.job)
            if run:
                run.language, run.language_probability = event.language, event.probability

    def window_done(self, event: WindowDone) -> bool:
        """Notes a result; False if nobody waits for it."""
        with self._lock:
            run = self._runs.get(event.job)
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

    def complete(self, key: str) -> JobRun | None:
        """Takes a job out if it has all its results and is not being saved.

        Args:
            key: The engine's name for it.
        """
        with self._lock:
            run = self._runs.get(key)
            if run is None or not run.complete or run.checkpoint.busy:
                return None
            self._remove(run)
            return run

    def rejected(self, key: str) -> JobRun | None:
        """Takes out a job that the engine refuses; None when it is no longer there."""
        with self._lock:
            run = self._runs.get(key)
            if run is None:
                return None
            self._remove(run)
        self._give_back(run)
        return run

    def take(self, run: JobRun) -> bool:
        """Takes a job away from the engine; False when it has left already, or has all its results."""
        with self._lock:
            if run.key not in self._keys or run.complete:
                return False
            key = self._remove(run)
        self._engine.cancel(key)
        self._give_back(run)
        return True

    def all(self) -> list[JobRun]:
        """Every job, the oldest first."""
        with self._lock:
            return list(self._runs.values())

    def _remove(self, run: JobRun) -> str:
        key = self._keys.pop(run.key)
        del self._runs[key]
        return key

    def _give_back(self, run: JobRun) -> None:
        self._buffer.give_back(run.buffered)
        run.buffered = 0.0

    # -- being saved -----------------------------------------------------------------------------------------------

    def begin_save(self, run: JobRun, due: Callable[[JobRun, int], bool]) -> bool:
        """Reserves a job for one save, which `end_save` ends.

        Args:
            run: The job.
            due: Whether to; is given the number of results that are not saved yet.

        Returns:
            Whether it is reserved: it is here, nobody saves it, and it is due.
        """
        with self._lock:
            if run.key not in self._keys or run.checkpoint.busy or run.complete:
                return False
            run.checkpoint.busy = due(run, len(run.results) - len(run.checkpoint.windows))
            return run.checkpoint.busy

    def end_save(self, run: JobRun, due_at: float) -> JobRun | None:
        """Ends a save; gives the job if its last result has come meanwhile: it has left then, as by `complete`.

        Args:
            run: The job.
            due_at: Clock time of the next save.
        """
        with self._lock:
            run.checkpoint.busy, run.checkpoint.due_at = False, due_at
            key = self._keys.get(run.key)
        return self.complete(key) if key else None

    @property
    def saving(self) -> bool:
        """Whether any job is being saved."""
        with self._lock:
            return any(run.checkpoint.busy for run in self._runs.values())

    def unsaved(self, run: JobRun) -> tuple[WindowResult, ...]:
        """The results that are not saved, by index."""
        with self._lock:
            return tuple(run.results[index] for index in sorted(run.results.keys() - run.checkpoint.windows))

    def saved(self, run: JobRun, results: tuple[WindowResult, ...]) -> None:
        """Notes that these stand in the store."""
        with self._lock:
            run.checkpoint.windows.update(result.index for result in results)
            run.checkpoint.advanced = True

    def adopt(self, run: JobRun, manifest: Manifest, results: Mapping[int, WindowResult]) -> None:
        """Goes on with another worker's cut or language in the place of this one's, and with what was heard so.

        What this attempt has heard so far is given up: no more than one save's worth, as the first save finds out.
        """
        with self._lock:
            if run.key not in self._keys or run.complete or run.windows is None:
                return
            key = self._remove(run)
        self._engine.cancel(key)
        run.windows = replace(run.windows, windows=manifest.windows, speech=manifest.speech)
        run.language, run.language_probability = manifest.language, manifest.language_probability
        run.results = dict(results)
        run.checkpoint.manifest, run.checkpoint.windows = manifest, set(results)
        if len(results) == len(manifest.windows):
            with self._lock:
                self._runs[key], self._keys[run.key] = run, key  # `end_save` finds that it is complete
        else:
            self._send(run, f"{run.key}/adopted")
