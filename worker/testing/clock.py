# SPDX-License-Identifier: Apache-2.0
"""A clock that a test moves."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["FakeClock", "PassingClock"]

#: Real seconds after which a waiter looks whether its event was set; the clock itself wakes it at once.
_POLL_SECONDS = 0.005


@dataclass(eq=False, slots=True)
class _Waiter:
    deadline: float
    event: threading.Event


class FakeClock:
    """Implements `stages.ports.Clock`; its time is always the same until a test advances it.

    A wait of 0 seconds or less returns at once. To be sure that a thread has done what was due, wait for it to rest
    again with `settle`, or let `run` do both.

    Args:
        start: What `now` says at first.
        epoch: What `time` says at first.
    """

    def __init__(self, start: float = 1_000.0, epoch: float = 1_750_000_000.0) -> None:
        self._epoch_offset = epoch - start
        self._condition = threading.Condition()  # guards _now and _waiters
        self._now = start
        self._waiters: set[_Waiter] = set()

    def now(self) -> float:
        """Seconds; only `advance` changes them."""
        with self._condition:
            return self._now

    def time(self) -> float:
        """Seconds since the epoch; keeps step with `now`."""
        return self.now() + self._epoch_offset

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Waits until the event is set or `timeout` seconds of this clock have passed; True when it is set."""
        with self._condition:
            waiter = _Waiter(self._now + timeout, event)
            if event.is_set() or timeout <= 0:
                return event.is_set()
            self._waiters.add(waiter)
            self._condition.notify_all()
            try:
                while waiter in self._waiters and not event.is_set():
                    # The setter of the event does not know of this clock, so the event has to be looked at.
                    self._condition.wait(_POLL_SECONDS)
            finally:
                self._waiters.discard(waiter)
                self._condition.notify_all()
            return event.is_set()

    def advance(self, seconds: float) -> None:
        """Moves the clock and wakes the waits that end by then; they count as ended when this returns."""
        with self._condition:
            self._now += seconds
            for waiter in [waiter for waiter in self._waiters if waiter.deadline <= self._now]:
                self._waiters.remove(waiter)
            self._condition.notify_all()

    def settle(self, waiters: int = 1, timeout: float = 10.0) -> None:
        """Waits until at least so many threads rest in `wait` on events that are not set.

        Args:
            waiters: How many.
            timeout: Real seconds.

        Raises:
            TimeoutError: They do not.
        """
        end = time.monotonic() + timeout
        with self._condition:
            while self._resting() < waiters:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{self._resting()} of {waiters} threads wait on the clock after {timeout} s")
                self._condition.wait(min(left, _POLL_SECONDS))

    def run(self, seconds: float, waiters: int = 1) -> None:
        """Lets time pass from one waiter's deadline to the next, each time until so many threads rest again."""
        end = self.now() + seconds
        while True:
            self.settle(waiters)
            with self._condition:
                following = min((waiter.deadline for waiter in self._waiters), default=end)
                step = min(following, end) - self._now
            self.advance(step)
            if self.now() >= end:
                self.settle(waiters)
                return

    def _resting(self) -> int:
        return sum(not waiter.event.is_set() for waiter in self._waiters)


class PassingClock(FakeClock):
    """A fake clock for a test that does everything on one thread: a wait lets its own time pass.

    Args:
        start: What `now` says at first.
        epoch: What `time` says at first.

    Attributes:
        meanwhile: Called while something waits: does what other threads would do now, and tells after how many
            seconds, more than none, they have something to do again.
    """

    def __init__(self, start: float = 1_000.0, epoch: float = 1_750_000_000.0) -> None:
        super().__init__(start, epoch)
        self.meanwhile: Callable[[], float] = lambda: math.inf

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Lets `timeout` seconds pass, or fewer if the event is set meanwhile; True when it is set."""
        # However little is waited for, it passes: whoever waits for the rest of a rounding error would wait for ever.
        end = max(self.now() + timeout, math.nextafter(self.now(), math.inf)) if timeout > 0 else self.now()
        while not event.is_set() and self.now() < end:
            pause = self.meanwhile()
            if not event.is_set():
                self.advance(max(0.0, min(pause, end - self.now())))
        return event.is_set()
