# SPDX-License-Identifier: Apache-2.0
"""A file that comes in several ranges at once: which bytes are whose, and the threads that bring them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqscribe.errors import Cancelled, ErrorCode, SqscribeError, TransientError
from stages.fetch.watch import TooSlowError

__all__ = ["RangePlan", "RangeRefusedError", "Span", "bring_ranges"]

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
        least: No span is cut into pieces smaller than this.
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


class _Helpers:
    """What the threads of one file tell each other.

    Attributes:
        failure: What ends them all.
        stop: Set when nobody is to begin another span.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()  # guards failure
        self.failure: SqscribeError | None = None

    def fail(self, error: SqscribeError) -> None:
        with self._lock:
            self.failure = self.failure or error
        self.stop.set()


def bring_ranges(
    plan: RangePlan, extra: int, bring: Callable[[Span], None], check: Callable[[], None], abort: Callable[[], None]
) -> Callable[[], None]:
    """Starts threads that bring the spans of a plan besides the caller, who has one in hand.

    A thread whose connection breaks off takes its span up again as long as it advances. One that does not, or is
    refused, leaves it to the others. Any other error ends them all.

    Args:
        plan: What is to be brought.
        extra: How many threads.
        bring: Brings a span that was taken: writes it and says so by `RangePlan.advance`, until nothing is wanted.
            An error with the code `source_changed` ends them all.
        check: Raises the reason if the transfer is to end; called about five times a second while it is waited for.
        abort: Makes every connection fail at once.

    Returns:
        Waits for the threads, if `check` lets it, and raises what ended them. To be called in any case.
    """
    helpers = _Helpers()
    threads = [
        threading.Thread(target=_help, args=(plan, bring, helpers), name=f"fetch-range-{number}", daemon=True)
        for number in range(extra)
    ]
    for thread in threads:
        thread.start()

    def finish() -> None:
        try:
            while any(thread.is_alive() for thread in threads):
                check()
                if helpers.failure:
                    break
                for thread in threads:
                    thread.join(_LOOK_SECONDS / len(threads))
        finally:
            helpers.stop.set()
            while any(thread.is_alive() for thread in threads):
                abort()  # again and again: one may be just about to connect
                for thread in threads:
                    thread.join(_LOOK_SECONDS)
        if helpers.failure:
            raise helpers.failure

    return finish


def _help(plan: RangePlan, bring: Callable[[Span], None], helpers: _Helpers) -> None:
    while not helpers.stop.is_set():
        span = plan.take()
        if span is None:
            return
        began = span.at
        try:
            bring(span)
        except (Cancelled, TooSlowError, RangeRefusedError):
            return  # of the first two the caller hears by itself
        except TransientError as error:
            if error.code is ErrorCode.SOURCE_CHANGED:
                helpers.fail(error)
            if helpers.failure or span.at == began:
                return
        except SqscribeError as error:
            helpers.fail(error)
            return
        finally:
            plan.leave(span)
