# SPDX-License-Identifier: Apache-2.0
"""Ends transfers that are called off or crawl."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
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
        longest: Seconds that the whole fetch may take, waits for ourselves left out; 0: any number.
        yields: Told at each look how many bytes have come in all; says why this fetch is to make way for others, or
            None.
        rest: Around each wait for the next try; the thread's turn is another's meanwhile.
    """

    def __init__(
        self,
        cancellation: Cancellation,
        min_bytes_per_second: float,
        period: float,
        longest: float = 0,
        yields: Callable[[int], str | None] = lambda _total: None,
        rest: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._cancellation = cancellation
        self._rate = min_bytes_per_second
        self._period = period
        self._longest = longest
        self._yields = yields
        self._rests = rest
        self._done = threading.Event()
        self._lock = threading.Lock()  # guards all below
        self._closers: set[Callable[[], None]] = set()
        self._bytes = 0
        self._needed = min_bytes_per_second * period
        self._deadline = time.monotonic() + period
        self._paused = 0
        self._resting = 0
        self._slow: str | None = None  # why it was given up
        self._total = 0  # bytes of the whole fetch
        self._spent = 0.0  # seconds of it, without pauses
        self._rest: int | None = None  # bytes to come, where that is known
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
        """Keeps a connection under watch; the caller still closes it.

        Args:
            connection: No `SSLSocket`: its `shutdown` drops the TLS object under the thread that reads from it.
        """
        with self.guarding_with(lambda: connection.shutdown(socket.SHUT_RDWR)):
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
            self._total += count
            if self._rest is not None:
                self._rest -= count

    def expect(self, rest: int | None) -> None:
        """Notes how many bytes are still to come, if that is known."""
        with self._lock:
            self._rest = rest

    @property
    def total(self) -> int:
        """The bytes of all tries together."""
        return self._total

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

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While this lasts the server is left alone until the next try, so it need not send, and others go before."""
        with self._lock:
            self._resting += 1
        try:
            with self._rests():
                yield
        finally:
            with self._lock:
                self._resting -= 1
                self._begin()

    def check(self) -> None:
        """Raises the reason if the watch has ended the transfer.

        Raises:
            Cancelled: The job is called off.
            TooSlowError: `source_unreachable`.
        """
        self._cancellation.check()
        if self._slow:
            raise TooSlowError(ErrorCode.SOURCE_UNREACHABLE, self._slow)

    def _begin(self) -> None:
        self._bytes = 0
        self._needed = self._rate * self._period
        self._deadline = time.monotonic() + self._period

    def _run(self) -> None:
        last = time.monotonic()
        while not self._done.wait(_LOOK_SECONDS):
            yields = None if self._paused else self._yields(self._total)
            now = time.monotonic()
            with self._lock:
                if not self._paused:
                    self._spent += now - last
                    self._slow = self._slow or yields or (None if self._resting else self._judge(now))
                closers = list(self._closers) if self._slow or self._cancellation.event.is_set() else []
            last = now
            for close in closers:
                with suppress(OSError, ValueError, RuntimeError):  # closed meanwhile, which is as good
                    close()

    def _judge(self, now: float) -> str | None:
        """Why the source is too slow, at the end of a period; None while it is not."""
        if self._longest and self._spent > self._longest:
            return f"the source takes too long: it is not complete after {_hours(self._longest)}, and was given up"
        if not self._rate or now < self._deadline:
            return None
        got, enough = self._bytes, self._bytes >= self._needed
        self._begin()
        if not enough:
            return f"the source sends too little (under {self._rate:.0f} bytes a second) and was given up"
        return self._hopeless(max(got / self._period, self._total / self._spent)) if self._rest else None

    def _hopeless(self, rate: float) -> str | None:
        left = (self._rest or 0) / rate
        if not self._longest or self._spent + left <= self._longest:
            return None
        return (
            f"the source is too slow: the {self._rest} bytes that it still has to send would take {_hours(left)} at "
            f"{rate:.0f} bytes a second, and {_hours(self._longest)} is the most; it was given up"
        )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"
