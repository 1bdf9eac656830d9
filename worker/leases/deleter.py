# SPDX-License-Identifier: Apache-2.0
"""Deletes of finished messages, gathered into batches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum

import structlog
from tenacity import Retrying, retry_if_result, stop_after_attempt, stop_any, stop_when_event_set
from tenacity.wait import wait_random_exponential

from stages.ports import Clock
from worker.leases import Lease, LeaseState, LeaseTable
from worker.queues import BATCH, Queue

__all__ = ["DeleteOutcome", "Deleter"]

log = structlog.get_logger()

_DELETER_THREAD_NAME = "deleter"

#: Most seconds between two looks at an empty list.
IDLE_SECONDS = 60.0


class DeleteOutcome(StrEnum):
    """What became of a message that was to be deleted."""

    DELETED = "deleted"
    LOST = "lost"  # the lease was lost before the queue confirmed: somebody else may get the message
    UNKNOWN = "unknown"  # the deleter was stopped before the queue confirmed it; the lease is held again


class Deleter:
    """Deletes messages of several threads together, in requests of up to ten.

    A lease is renewed until the moment it is taken, and held again when the delete has failed: the delete is repeated
    until the queue confirms it or the lease is lost. A lease that has lapsed is not taken; its delete counts as failed.

    Args:
        table: Leases are taken from it.
        queue: Deletes.
        clock: Lingering and waiting go by it.
        linger: Seconds that a delete waits for company.
        attempts: Requests in a row for a message, before the messages behind it have their turn.
        first_wait: Seconds before the second attempt, at most; doubles, at random, from there.
        longest_wait: Most seconds between two attempts, and the pause after a batch of which no message was deleted.
        on_trouble: Told why a request to delete failed as a whole, and None once one is answered.
    """

    def __init__(
        self,
        table: LeaseTable,
        queue: Queue,
        clock: Clock,
        *,
        linger: float = 0.2,
        attempts: int = 4,
        first_wait: float = 0.5,
        longest_wait: float = 5.0,
        on_trouble: Callable[[str | None], None] = lambda _why: None,
    ) -> None:
        self._table = table
        self._queue = queue
        self._clock = clock
        self._linger = linger
        self._attempts = attempts
        self._longest_wait = longest_wait
        self._on_trouble = on_trouble
        self._wait = wait_random_exponential(multiplier=first_wait, max=longest_wait)
        self._stopping = threading.Event()
        self._work = threading.Event()  # set when something is pending, or on stop
        self._lock = threading.Lock()  # guards _pending and _thread
        self._pending: list[_Delete] = []
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Starts the thread.

        Raises:
            RuntimeError: It was started before.
        """
        with self._lock:
            if self._thread is not None:
                raise RuntimeError("the deleter was already started")
            self._thread = threading.Thread(target=self._run, name=_DELETER_THREAD_NAME, daemon=True)
            self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Tries once more to delete what is pending, without waiting for company, then ends.

        Returns:
            Whether the thread has ended within `timeout` seconds.
        """
        with self._lock:
            thread = self._thread
            self._stopping.set()
            self._work.set()
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def delete(self, lease: Lease) -> Future[DeleteOutcome]:
        """Asks for a delete; never blocks. Call `lease.fence()` first, as before every write.

        Raises:
            RuntimeError: The deleter does not run.
        """
        with self._lock:
            if self._stopping.is_set() or not self.alive:
                raise RuntimeError("the deleter does not run")
            delete = _Delete(lease)
            self._pending.append(delete)
            self._work.set()
        return delete.future

    def _run(self) -> None:
        while batch := self._gather():
            try:
                self._delete_all(batch)
                left = _undecided(batch)
                self._put_back(left)
                if not left and not self._table.count:
                    self._on_trouble(None)  # with no lease left, nothing would ever say that all is well again
                if len(left) == len(batch):
                    self._rest(self._longest_wait)  # the queue is away: it is asked now and then
            except BaseException as error:
                # A bug: whoever waits for an outcome is told, and the thread's end is seen by `alive`.
                for delete in batch:
                    if not delete.future.done():
                        delete.future.set_exception(error)
                raise

    def _gather(self) -> list[_Delete]:
        """Waits for deletes that can share a request; empty once it is stopped and nothing is pending."""
        since: float | None = None
        while True:
            with self._lock:
                stopping = self._stopping.is_set()
                now = self._clock.now()
                if self._pending and since is None:
                    since = now
                left = self._linger - (now - since) if since is not None else IDLE_SECONDS
                if stopping or len(self._pending) >= BATCH or left <= 0:
                    batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
                    return batch
                self._work.clear()
            self._clock.wait(self._work, left)

    def _delete_all(self, batch: list[_Delete]) -> None:
        """Makes a few attempts at a batch."""

        def attempt() -> bool:
            self._attempt(_undecided(batch))
            return not _undecided(batch)

        Retrying(
            retry=retry_if_result(lambda complete: not complete),
            stop=stop_any(stop_after_attempt(self._attempts), stop_when_event_set(self._stopping)),
            wait=self._wait,
            sleep=self._rest,
            retry_error_callback=lambda _state: False,
        )(attempt)

    def _rest(self, seconds: float) -> None:
        self._clock.wait(self._stopping, seconds)

    def _put_back(self, deletes: list[_Delete]) -> None:
        """Puts deletes without an outcome behind the others; once it is stopped, their outcome is unknown."""
        for delete in deletes:
            log.warning("delete_failed", message=delete.lease.message.id, error=delete.error)
        with self._lock:
            stopping = self._stopping.is_set()
            if not stopping:
                self._pending.extend(deletes)
                return
        for delete in deletes:
            delete.future.set_result(DeleteOutcome.UNKNOWN)

    def _attempt(self, deletes: list[_Delete]) -> None:
        taken: dict[str, _Delete] = {}
        for delete in deletes:
            lease = delete.lease
            if lease.state is LeaseState.LAPSED:
                delete.error = "the lease has lapsed"
            elif self._table.take(lease):
                taken[lease.message.id] = delete
            else:
                delete.future.set_result(DeleteOutcome.LOST)
        if not taken:
            return
        result = self._queue.delete([delete.lease.message for delete in taken.values()])
        self._on_trouble(result.unanswered)
        for message_id, delete in taken.items():
            if message_id in result.done:
                delete.future.set_result(DeleteOutcome.DELETED)
            elif message_id in result.refused:
                log.warning("delete_refused", message=message_id, error=result.refused[message_id])
                delete.future.set_result(DeleteOutcome.LOST)
            else:
                delete.error = result.failed.get(message_id, "the queue did not answer for this message")
                self._table.restore(delete.lease)


class _Delete:
    """One delete that was asked for."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.error = ""  # of the last attempt
        self.future: Future[DeleteOutcome] = Future()
        self.future.set_running_or_notify_cancel()  # from here on its owner cannot cancel it


def _undecided(deletes: list[_Delete]) -> list[_Delete]:
    """Those without an outcome."""
    return [delete for delete in deletes if not delete.future.done()]
