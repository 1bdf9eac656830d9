# SPDX-License-Identifier: Apache-2.0
"""The heartbeat: the one thread that renews every lease of the table."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from stages.ports import Clock
from worker.leases.table import LeaseTable
from worker.queues import BatchResult, Queue

__all__ = ["Heartbeat"]

log = structlog.get_logger()

_HEARTBEAT_THREAD_NAME = "heartbeat"


class Heartbeat:
    """Renews what is due, most urgent first, in requests of up to ten messages.

    Args:
        table: What is to be renewed.
        queue: Renews, by a client of its own whose time-outs are short.
        clock: Rounds and pauses go by it.
        longest_pause: Most seconds between two rounds, so that `last_beat` shows a living thread.
        error_pause: Seconds until the next round after one that met an unexpected error.
        on_trouble: Told why a request to renew failed as a whole, and None once one is answered.
    """

    def __init__(
        self,
        table: LeaseTable,
        queue: Queue,
        clock: Clock,
        *,
        longest_pause: float = 10.0,
        error_pause: float = 1.0,
        on_trouble: Callable[[str | None], None] = lambda _why: None,
    ) -> None:
        self._table = table
        self._queue = queue
        self._clock = clock
        self._longest_pause = longest_pause
        self._error_pause = error_pause
        self._on_trouble = on_trouble
        self._stopping = threading.Event()
        self._lifecycle_lock = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None
        self._last_beat = clock.now()
        self._errors = 0

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def last_beat(self) -> float:
        """Clock time of the last round's end; where the heartbeat is stuck, it stays the same."""
        return self._last_beat

    @property
    def errors(self) -> int:
        """Unexpected errors that were survived."""
        return self._errors

    def start(self) -> None:
        """Starts the thread.

        Raises:
            RuntimeError: It runs already.
        """
        with self._lifecycle_lock:
            if self._thread is not None:
                raise RuntimeError("the heartbeat is already running")
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=_HEARTBEAT_THREAD_NAME, daemon=True)
            self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Ends the thread; leases that are still held are no longer renewed.

        Args:
            timeout: Seconds to wait for a request under way.

        Returns:
            Whether the thread has ended.
        """
        with self._lifecycle_lock:
            thread = self._thread
            self._stopping.set()
            self._table.changed.set()
            if thread is not None:
                thread.join(timeout)
                if thread.is_alive():
                    log.warning("heartbeat_stuck", timeout=timeout)
                    return False
            self._thread = None
            return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Cleared before the table is read: a lease that is added from here on sets it again.
            self._table.changed.clear()
            if self._stopping.is_set():
                return
            try:
                self._beat()
                pause = min(self._table.seconds_until_due(), self._longest_pause)
            except Exception:
                # The only place around the leases that catches every error: a heartbeat that dies of an unexpected one
                # loses every job of this worker, while one that goes on loses at worst the lease that met it.
                self._errors += 1
                log.exception("heartbeat_error", errors=self._errors)
                self._clock.wait(self._stopping, self._error_pause)
                pause = 0.0
            self._last_beat = self._clock.now()
            self._clock.wait(self._table.changed, pause)

    def _beat(self) -> None:
        while not self._stopping.is_set():
            renewals = self._table.begin_renewals()
            if not renewals:
                if not self._table.count:
                    self._on_trouble(None)  # with no lease left, nothing would ever say that all is well again
                return
            sent_at = self._clock.now()
            result = BatchResult()  # what an unexpected error leaves behind: nothing is known of any message
            try:
                result = self._queue.extend([(renewal.message, renewal.seconds) for renewal in renewals])
            finally:
                self._table.end_renewals(renewals, sent_at, result)
            self._on_trouble(result.unanswered)
            self._last_beat = self._clock.now()
