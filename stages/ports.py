# SPDX-License-Identifier: Apache-2.0
"""The protocols of what a stage needs from outside; `worker` brings the real ones and the fakes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from sqscribe.errors import Cancelled, CancelReason

__all__ = ["Cancellation", "Clock", "ScratchReserve", "Store", "StoredObject"]


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def now(self) -> float:
        """Seconds that never jump and count while the host sleeps (CLOCK_BOOTTIME)."""

    def time(self) -> float:
        """Seconds since the epoch, for records and logs only."""

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Waits for the event for at most `timeout` seconds; True when it is set."""


class Cancellation:
    """Tells every stage that works on a job when its work is called off, and why.

    The first reason counts. `event` may be waited on.

    Args:
        parent: Whatever calls the parent off calls this off too; they share one event.
        on_check: Called at every `check`: a sign of life of the thread that works on the job.
    """

    def __init__(self, parent: Cancellation | None = None, on_check: Callable[[], None] | None = None) -> None:
        self.event: threading.Event = parent.event if parent else threading.Event()
        self._parent = parent
        self._on_check = on_check
        self._lock = threading.Lock()  # guards _reason
        self._reason: CancelReason | None = None

    @property
    def reason(self) -> CancelReason | None:
        """Why, or None while the work goes on."""
        return self._parent.reason if self._parent else self._reason

    def cancel(self, reason: CancelReason) -> None:
        """Calls the work off."""
        if self._parent:
            self._parent.cancel(reason)
            return
        with self._lock:
            if self._reason is None:
                self._reason = reason
        self.event.set()

    def check(self) -> None:
        """Raises `Cancelled` once the work is called off. Long steps call it every second or so."""
        if self._on_check:
            self._on_check()
        reason = self.reason
        if reason is not None:
            raise Cancelled(reason)


class ScratchReserve(Protocol):
    """How many scratch bytes one job may use; grows while a stage writes."""

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Waits until this job may hold `total` bytes of scratch in all (shrinks at once).

        Raises:
            Cancelled: The job was called off meanwhile.
            PermanentError: `source_too_large`, when `total` exceeds all the scratch there is.
        """


class StoredObject(NamedTuple):
    """A small object and the ETag that a conditional replacement needs."""

    body: bytes
    etag: str


class Store(Protocol):
    """Small objects under `s3://bucket/key` addresses.

    Every method raises `NodeFaultError` when the store cannot be reached or answers nonsense, and
    `PermanentError` with `output_forbidden` when it refuses access or the bucket does not exist.

    What is `temporary` is marked so, where the store has marks: for a rule of its owner's that removes what was left.
    """

    def get(self, url: str) -> StoredObject | None:
        """The object, or None when there is none."""

    def exists(self, url: str) -> bool:
        """Whether there is such an object."""

    def put(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> None:
        """Writes the object, whether or not there is one."""

    def put_if_absent(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> bool:
        """Writes the object if there is none; False when there is one."""

    def replace(self, url: str, body: bytes, content_type: str, etag: str, *, temporary: bool = False) -> bool:
        """Writes the object if the present one has this ETag; False otherwise."""

    def delete(self, url: str) -> None:
        """Removes the object; it is no error when there is none."""

    def keys(self, prefix: str) -> list[str]:
        """The addresses below `prefix`, sorted."""
