# SPDX-License-Identifier: Apache-2.0
"""Room for slow downloads beside the others, so that strangers who send drop by drop hold up nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stages.ports import Cancellation

__all__ = ["Lanes", "SlowTransfer"]

#: Seconds between two signs of life of a thread that waits for its turn.
_LOOK_SECONDS = 0.5


class Lanes:
    """Says how many jobs are prepared at once, not counting downloads that crawl. Thread-safe.

    A thread that prepares a job has a turn. A download that turns out to be slow gives its thread's turn to another
    and goes on in a slow lane; before its file is decoded, it waits for a turn again. When every slow lane is taken and
    every turn is with a download that is as slow, the slowest of all of them is given up. A download that waits for its
    next try gives its turn away for as long.

    Args:
        turns: Jobs that are prepared at once.
        slow: Slow lanes.
        rests: Downloads that may wait for their next try without a turn.
        rate: Bytes a second below which a download is slow: less than a recording of 128 kbit/s plays at.
        period: Seconds that it is measured over.
    """

    def __init__(self, turns: int, slow: int, *, rests: int = 0, rate: float = 16_000.0, period: float = 15.0) -> None:
        self._turns = turns
        self._lanes = slow
        self._rests = rests
        self._rate = rate
        self._period = period
        self._changed = threading.Condition()  # guards the five below, and each transfer's `given_up`
        self._taken = 0
        self._coming_back = 0  # wait for a turn that they had before, and have it before anybody new
        self._slow: dict[SlowTransfer, float] = {}  # in the slow lanes; how fast each was at last
        self._waiting: dict[SlowTransfer, float] = {}  # as slow, and has a turn since no lane is free
        self._resting: set[SlowTransfer] = set()  # without a turn until their next try

    @property
    def slow(self) -> int:
        """Downloads in the slow lanes."""
        return len(self._slow)

    @property
    def coming_back(self) -> int:
        """Downloads that wait for the turn that they gave away."""
        return self._coming_back

    @contextmanager
    def turn(self, timeout: float) -> Iterator[bool]:
        """A turn to prepare a job; False when there is none within `timeout` seconds."""
        with self._changed:
            granted = self._changed.wait_for(lambda: self._taken + self._coming_back < self._turns, timeout)
            self._taken += granted
        try:
            yield granted
        finally:
            with self._changed:
                self._taken -= granted
                self._changed.notify_all()

    @contextmanager
    def transfer(self, cancellation: Cancellation) -> Iterator[SlowTransfer]:
        """While a thread that has a turn downloads; at its end it has a turn again.

        Raises:
            Cancelled: The job was called off while it waited for its turn.
        """
        transfer = SlowTransfer(self, self._period)
        try:
            yield transfer
        except BaseException:
            self._leave(transfer)  # its thread is about to give its turn back
            raise
        self._leave(transfer, cancellation)

    @contextmanager
    def rest(self, transfer: SlowTransfer, cancellation: Cancellation) -> Iterator[None]:
        """While a download waits for its next try; at the end it has a turn again, if it had one.

        Raises:
            Cancelled: The job was called off while it waited for its turn.
        """
        with self._changed:
            gives = transfer not in self._slow and len(self._resting) < self._rests
            if gives:
                self._waiting.pop(transfer, None)
                self._resting.add(transfer)
                self._taken -= 1
                self._changed.notify_all()
        try:
            yield
        except BaseException:
            if gives:
                self._back(transfer)  # its thread is about to give its turn back
            raise
        if gives:
            self._back(transfer, cancellation)

    def judge(self, transfer: SlowTransfer, rate: float) -> None:
        """Notes how fast a download is."""
        with self._changed:
            if transfer in self._resting:
                return
            if transfer in self._slow:
                self._slow[transfer] = rate
                return
            self._waiting.pop(transfer, None)
            if rate >= self._rate:
                return
            if len(self._slow) < self._lanes:
                self._slow[transfer] = rate
                self._taken -= 1
                self._changed.notify_all()
                return
            self._waiting[transfer] = rate
            if len(self._waiting) >= self._turns:
                # One that has sent nothing at all may have no network: its own time-outs say so.
                rates = {each: speed for each, speed in (self._slow | self._waiting).items() if speed}
                if rates:
                    min(rates, key=lambda each: rates[each]).given_up = True

    def _leave(self, transfer: SlowTransfer, cancellation: Cancellation | None = None) -> None:
        with self._changed:
            self._waiting.pop(transfer, None)
            if self._slow.pop(transfer, None) is None:
                return
            self._take_turn(cancellation)

    def _back(self, transfer: SlowTransfer, cancellation: Cancellation | None = None) -> None:
        with self._changed:
            try:
                self._take_turn(cancellation)
            finally:
                self._resting.discard(transfer)

    def _take_turn(self, cancellation: Cancellation | None) -> None:
        """Takes a turn when one is free; at once where nothing is to be done with it. With the lock held."""
        self._coming_back += 1
        try:
            while cancellation and not self._changed.wait_for(lambda: self._taken < self._turns, _LOOK_SECONDS):
                cancellation.check()
        finally:
            self._coming_back -= 1
            self._taken += 1


class SlowTransfer:
    """One download, as its watch sees it.

    Attributes:
        given_up: Whether it is to end, so that others get on.
    """

    def __init__(self, lanes: Lanes, period: float) -> None:
        self._lanes = lanes
        self._period = period
        self._since = time.monotonic()
        self._total = 0
        self.given_up = False

    @contextmanager
    def rest(self, cancellation: Cancellation) -> Iterator[None]:
        """While it waits for its next try, which does not count as slowness.

        Raises:
            Cancelled: The job was called off meanwhile.
        """
        with self._lanes.rest(self, cancellation):
            yield
        self._since = time.monotonic()

    def look(self, total: int) -> str | None:
        """Notes that `total` bytes have come; gives the reason if the download is to end."""
        now = time.monotonic()
        spent = now - self._since
        if spent >= self._period:
            self._lanes.judge(self, (total - self._total) / spent)
            self._since, self._total = now, total
        if not self.given_up:
            return None
        return "the source sends too little, and other jobs wait for as slow ones; it was given up for now"
