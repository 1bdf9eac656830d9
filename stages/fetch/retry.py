# SPDX-License-Identifier: Apache-2.0
"""The rule by which a transfer is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random

from stages.fetch.request import FetchLimits
from stages.fetch.statuses import BusyError
from stages.ports import Cancellation

__all__ = ["retrying"]

#: Longest wait between two tries that a server did not ask for, in seconds; longer outages are the queue's to wait for.
_LONGEST_WAIT = 10.0
#: Seconds between two signs of life while a try is waited for.
_LOOK_SECONDS = 1.0


def retrying(
    limits: FetchLimits,
    cancellation: Cancellation,
    worth: Callable[[BaseException], bool],
    *,
    progress: Callable[[], tuple[int, ...]] = lambda: (),
    resting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Retrying:
    """Repeats a transfer after errors that are `worth` it, then raises the last one. A cancellation ends the wait.

    Args:
        limits: Tries and waits.
        cancellation: Checked before each try, and about every second while one is waited for.
        worth: Whether another try may succeed.
        progress: How far it has come, as bytes that the next try can build on. The count of tries begins anew whenever
            that has grown.
        resting: Around each wait.
    """
    tries = _Tries(limits, progress)

    def sleep(seconds: float) -> None:
        until = time.monotonic() + seconds
        with resting():
            while (left := until - time.monotonic()) > 0 and not cancellation.event.wait(min(left, _LOOK_SECONDS)):
                cancellation.check()

    return Retrying(
        stop=tries.exhausted,
        wait=tries.wait,
        after=tries.note,
        retry=retry_if_exception(worth),
        sleep=sleep,
        before=lambda _: cancellation.check(),
        reraise=True,
    )


class _Tries:
    """Counts the tries since the last progress."""

    def __init__(self, limits: FetchLimits, progress: Callable[[], tuple[int, ...]]) -> None:
        self._limits = limits
        self._progress = progress
        self._best = progress()
        self._since = 0
        self._jitter = wait_random(0, limits.backoff)

    def note(self, state: RetryCallState) -> None:
        """Looks how far a try that failed has come; called before the two below."""
        have = self._progress()
        if have > self._best:
            self._best, self._since = have, state.attempt_number

    def exhausted(self, state: RetryCallState) -> bool:
        too_long = (_asked_for(state) or 0.0) > self._limits.longest_retry_after
        return too_long or state.attempt_number - self._since >= self._limits.attempts

    def wait(self, state: RetryCallState) -> float:
        tries = max(0, state.attempt_number - self._since - 1)
        own = min(_LONGEST_WAIT, self._limits.backoff * 2.0 ** min(tries, 30)) + self._jitter(state)
        return max(own, _asked_for(state) or 0.0)


def _asked_for(state: RetryCallState) -> float | None:
    """Seconds that the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, BusyError) else None
