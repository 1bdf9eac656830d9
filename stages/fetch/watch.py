# SPDX-License-Identifier: Apache-2.0
"""Ends transfers that are called off or crawl."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from sqscribe.errors import ErrorCode, TransientError
from stages.ports import Cancellation

__all__ = ["TooSlowError", "TransferWatch"]

#: Seconds between two looks; also how late a cancellation is noticed by a thread that is blocked on the network.
_LOOK_SECONDS = 0.2


class TooSlowError(TransientError):
    """The source sends, but too little to be waited for; trying again at once would bring more of the same."""


class TransferWatch:
    """Watches one fetch from a thread of its own.

    A thread that reads from the network notices nothing else: neither that its job is called off nor that a server
    which sends a byte before every time-out will take days. So the watch shuts the sockets down under the reader,
    which then asks `check` why. Used as a context manager; it lasts as long as one fetch.

    Args:
        min_bytes_per_second: Over each `period`; 0 never finds anything too slow.
        period: Seconds.
    """

    def __init__(self, cancellation: Cancellation, min_bytes_per_second: float, period: float) -> None:
        self._cancellation = cancellation
        self._rate = min_bytes_per_second
        self._period = period
        self._done = threading.Event()
        self._lock = threading.Lock()  # guards all below
        self._closers: set[Callable[[], None]] = set()
        self._bytes = 0
        self._needed = min_bytes_per_second * period
        self._deadline = time.monotonic() + period
        self._paused = 0
        self._slow = False
        self._thread = threading.Thread(target=self._run, name="transfer-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    @contextmanager
    def guarding(self, connection: socket.socket) -> Iterator[None]:
        """Keeps a connection under watch; the caller still closes it."""
        # Not `connection.shutdown`: SSLSocket's drops the TLS object under the thread that reads from it.
        with self.guarding_with(lambda: socket.socket.shutdown(connection, socket.SHUT_RDWR)):
            yield

    @contextmanager
    def guarding_with(self, closer: Callable[[], None]) -> Iterator[None]:
        """Keeps a transfer under watch; `closer`, called from another thread, makes it fail at once."""
        with self._lock:
            self._closers.add(closer)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._closers.discard(closer)

    def received(self, count: int) -> None:
        """Notes that `count` more bytes have come."""
        self._cancellation.check()
        with self._lock:
            self._bytes += count

    def restart(self, grace: float | None = None) -> None:
        """Begins anew with a new connection. With `grace`, one byte within so many seconds is enough at first."""
        with self._lock:
            self._begin()
            if grace:
                self._needed = 1
                self._deadline = time.monotonic() + grace

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While this lasts the transfer waits for us, so slowness does not count against the source."""
        with self._lock:
            self._paused += 1
        try:
            yield
        finally:
            with self._lock:
                self._paused -= 1
                self._begin()

    def check(self) -> None:
        """Raises the reason if the watch has ended the transfer.

        Raises:
            Cancelled: The job is called off.
            TooSlowError: `source_unreachable`.
        """
        self._cancellation.check()
        if self._slow:
            raise TooSlowError(
                ErrorCode.SOURCE_UNREACHABLE,
                f"the source sends too little (under {self._rate:.0f} bytes a second) and was given up",
            )

    def _begin(self) -> None:
        self._bytes = 0
        self._needed = self._rate * self._period
        self._deadline = time.monotonic() + self._period

    def _run(self) -> None:
        while not self._done.wait(_LOOK_SECONDS):
            with self._lock:
                if not self._paused and self._rate and time.monotonic() >= self._deadline:
                    self._slow = self._slow or self._bytes < self._needed
                    self._begin()
                closers = list(self._closers) if self._slow or self._cancellation.event.is_set() else []
            for close in closers:
                with suppress(OSError, ValueError, RuntimeError):  # closed meanwhile, which is as good
                    close()
