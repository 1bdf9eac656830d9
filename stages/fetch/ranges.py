# SPDX-License-Identifier: Apache-2.0
"""A file that comes in several ranges at once: which bytes are whose, and the threads that bring them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqscribe.errors import Cancelled, ErrorCode, SqscribeError, TransientError
from stages.fetch.watch import TooSlowError

__all__ = ["RangePlan", "RangeRefusedError", "RangeThreads", "Span"]

#: Seconds between two looks at those that still work.
_LOOK_SECONDS = 0.2


class RangeRefusedError(TransientError):
    """The server will not serve one more range: whoever asked for it asks no more, and the others go on."""


class Span:
    """Bytes that one connection brings. Its plan alone changes it.

    Attributes:
        at: The next byte to come.
        end: The first byte that is no longer its own.
    """

    def __init__(self, at: int, end: int) -> None:
        self.at = at
        self.end = end


class RangePlan:
    """Which bytes of a file are there, under way and left. Thread-safe; outlives the connections that it is used by.

    Args:
        total: Bytes of the file.
        least: No span is cut into pieces smaller than this, so whoever writes fewer bytes at a time is never cut off
            amid them.
    """

    def __init__(self, total: int, least: int) -> None:
        self.total = total
        self._least = least
        self._lock = threading.Lock()  # guards all below, and every span
        self._left = [Span(0, total)] if total else []
        self._running: list[Span] = []

    @property
    def done(self) -> int:
        """Bytes that have come."""
        with self._lock:
            return self.total - sum(span.end - span.at for span in (*self._left, *self._running))

    def take(self) -> Span | None:
        """A span to bring: one that is left, else the second half of the longest under way; None if there is none."""
        with self._lock:
            if self._left:
                span = self._left.pop(0)
            else:
                longest = max(self._running, key=lambda running: running.end - running.at, default=None)
                if longest is None or longest.end - longest.at < 2 * self._least:
                    return None
                span = self._cut(longest, (longest.at + longest.end) // 2)
            self._running.append(span)
            return span

    def share(self, span: Span, parts: int) -> None:
        """Leaves all but the first of `parts` equal pieces of a span under way to others."""
        with self._lock:
            parts = min(parts, (span.end - span.at) // self._least)
            for left in range(parts, 1, -1):
                piece = (span.end - span.at) // left
                self._left.insert(0, self._cut(span, span.end - piece))

    def advance(self, span: Span, count: int) -> int:
        """Notes `count` bytes that have been written.

        Returns:
            How many more the span wants. At its end it takes over what is left behind it, for which its connection
            need not be made anew.
        """
        with self._lock:
            span.at += count
            if span.at >= span.end:
                following = next((left for left in self._left if left.at == span.end), None)
                if following:
                    self._left.remove(following)
                    span.end = following.end
            return span.end - span.at

    def wanted(self, span: Span, count: int) -> int:
        """How many of the next `count` bytes the span still wants; others may have taken its end."""
        with self._lock:
            return max(0, min(count, span.end - span.at))

    def leave(self, span: Span) -> None:
        """Notes that nobody brings the rest of a span any more."""
        with self._lock:
            self._running.remove(span)
            if span.at < span.end:
                self._left.append(span)
                self._left.sort(key=lambda left: left.at)

    def _cut(self, span: Span, place: int) -> Span:
        rest = Span(place, span.end)
        span.end = place
        return rest


class RangeThreads:
    """Threads that bring the spans of a plan besides the caller, who has one in hand. A context manager.

    One whose connection breaks off takes its span up again as long as it advances. One that does not, or is refused,
    leaves it to the others. Any other error ends them all, and so does the end of the context.

    Args:
        plan: What is to be brought.
        count: How many threads.
        bring: Brings a span that was taken: writes it and says so by `RangePlan.advance`, until nothing is wanted. An
            error with the code `source_changed` ends them all.
        abort: Makes every connection of theirs fail at once.
    """

    def __init__(self, plan: RangePlan, count: int, bring: Callable[[Span], None], abort: Callable[[], None]) -> None:
        self._plan = plan
        self._bring = bring
        self._abort = abort
        self._stop = threading.Event()  # nobody is to begin another span
        self._lock = threading.Lock()  # guards _failure
        self._failure: SqscribeError | None = None
        self._threads = [
            threading.Thread(target=self._run, name=f"fetch-range-{number}", daemon=True) for number in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        while self._busy():
            self._abort()  # again and again: one may be just about to connect
            self._join()

    @property
    def failed(self) -> bool:
        """Whether an error has ended them all; `wait` raises it."""
        return self._failure is not None

    def wait(self, check: Callable[[], None]) -> None:
        """Waits until they have nothing more to do.

        Args:
            check: Raises the reason if the transfer is to end; called about five times a second.

        Raises:
            SqscribeError: What ended them all.
        """
        while self._busy() and not self._failure:
            check()
            self._join()
        if self._failure:
            raise self._failure

    def _busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _join(self) -> None:
        alive = next((thread for thread in self._threads if thread.is_alive()), None)
        if alive:
            alive.join(_LOOK_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            span = self._plan.take()
            if span is None:
                return
            began = span.at
            try:
                self._bring(span)
            except (Cancelled, TooSlowError, RangeRefusedError):
                return  # of the first two the caller hears by itself
            except TransientError as error:
                if error.code is ErrorCode.SOURCE_CHANGED:
                    self._fail(error)
                if span.at == began:
                    return
            except SqscribeError as error:
                self._fail(error)
            finally:
                self._plan.leave(span)

    def _fail(self, error: SqscribeError) -> None:
        with self._lock:
            self._failure = self._failure or error
        self._stop.set()
