# SPDX-License-Identifier: Apache-2.0
"""What a batch thread does: takes a batch, has it decoded, gives it back, and copes with one that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from sqscribe.errors import EngineBrokenError, ErrorCode
from stages.inference.engine.rows import Batch, WindowDecoder
from stages.inference.engine.scheduler import Scheduler

__all__ = ["BatchLimit", "Batches", "is_out_of_memory", "reject_lost"]

#: How long an idle batch thread waits for work between two beats.
_BEAT_SECONDS = 2.0

log = structlog.get_logger()


class BatchLimit:
    """How many rows a batch may have: less once one did not fit into the device's memory. Thread-safe.

    It never grows again: what did not fit once would fail again later, in a busier moment.

    Args:
        rows: To begin with.
        on_reduced: Called with each new value.
    """

    def __init__(self, rows: int, on_reduced: Callable[[int], None]) -> None:
        self._on_reduced = on_reduced
        self._lock = threading.Lock()  # guards _rows
        self._rows = rows

    @property
    def rows(self) -> int:
        """The present value, at least 1."""
        return self._rows

    def reduce(self, rows: int) -> None:
        """Notes that a batch of so many rows did not fit.

        A quarter less fits next time, or the time after: a batch fails fast, and a limit that is too low costs time for
        ever. Batches that were under way together fail together, with one value of the limit: it falls once for all.
        """
        with self._lock:
            fewer = max(1, rows * 3 // 4)
            if fewer < self._rows:
                self._rows = fewer
                self._on_reduced(fewer)


class Batches:
    """The loop of the batch threads.

    Args:
        decoder: Does the work.
        scheduler: Has the work.
        limit: Of the rows of a batch.
        announce: Returns once all that the scheduler has told has left the process, so that it survives a crash.
        check: Raises unless the decoder still gets the control recording right.
    """

    def __init__(
        self,
        decoder: WindowDecoder,
        scheduler: Scheduler,
        limit: BatchLimit,
        announce: Callable[[], None],
        check: Callable[[], object],
    ) -> None:
        self._decoder = decoder
        self._scheduler = scheduler
        self._limit = limit
        self._announce = announce
        self._check = check

    def run(self) -> None:
        """Works until the scheduler is closed; any number of threads may.

        Raises:
            EngineBrokenError: The device no longer works.
        """
        while not self._scheduler.closed:
            batch = self._scheduler.take(self._limit.rows, _BEAT_SECONDS)
            if batch is None:
                continue
            self._announce()
            try:
                outcomes = self._decoder.run(batch.rows)
            except FileNotFoundError as error:
                if not reject_lost(self._scheduler, {row.job.job_key: row.job.pcm_path for row in batch.rows}):
                    self._failed(batch, error)
                else:
                    self._scheduler.put_back(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, this input or the device brought it about
                self._failed(batch, error)
            else:
                self._scheduler.give(batch, outcomes)

    def _failed(self, batch: Batch, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        memory = is_out_of_memory(error)
        log.warning(
            "batch_failed", rows=len(batch.rows), alone=batch.exclusive, error=why, exc_info=not memory and error
        )
        # The frames of the traceback hold what the batch has on the device.
        error.__traceback__ = None
        if memory:
            self._decoder.relieve()
        if memory and len(batch.rows) > 1:
            self._limit.reduce(len(batch.rows))
            self._scheduler.put_back(batch)
            return
        # One row beside another batch proves nothing of memory: it is tried again by itself.
        if not memory or batch.exclusive:
            self._prove(batch, why)
        self._scheduler.suspect(batch, why)

    def _prove(self, batch: Batch, why: str) -> None:
        """Makes sure that it is not the device: after some errors, CUDA fails at everything until the process ends."""
        try:
            self._check()
        except Exception as error:
            if is_out_of_memory(error) and not batch.exclusive:
                return  # another batch has the memory
            raise EngineBrokenError(
                f"a batch failed ({why}), and the control recording after it ({type(error).__name__}: {error})"
            ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the host on behalf of it, has no memory left.

    CTranslate2 says so by a RuntimeError ("CUDA failed with error out of memory", "cuBLAS failed with status
    CUBLAS_STATUS_ALLOC_FAILED") or by a MemoryError, torch by a RuntimeError of its own ("CUDA out of memory. …").
    """
    if isinstance(error, MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text.lower() or "ALLOC_FAILED" in text)


def reject_lost(scheduler: Scheduler, files: dict[str, str]) -> bool:
    """Rejects the jobs (by key, with their PCM files) whose file is gone; False when none is.

    A job's scratch folder goes as soon as the worker has called the job off, which we may hear of later.
    """
    lost = [job_key for job_key, path in files.items() if not Path(path).exists()]
    for job_key in lost:
        scheduler.reject(
            job_key, ErrorCode.INTERRUPTED, "the job's decoded audio was removed while it was being worked on"
        )
    return bool(lost)
