# SPDX-License-Identifier: Apache-2.0
"""The rule by which a transfer is repeated."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random
from tenacity.nap import sleep_using_event

from stages.fetch.request import FetchLimits
from stages.ports import Cancellation

__all__ = ["retrying"]

#: Longest wait between two tries, in seconds; longer outages are the queue's to wait for.
_LONGEST_WAIT = 10.0


def retrying(limits: FetchLimits, cancellation: Cancellation, worth: Callable[[BaseException], bool]) -> Retrying:
    """Repeats a transfer after errors that are `worth` it, then raises the last one. A cancellation ends the wait."""
    return Retrying(
        stop=stop_after_attempt(limits.attempts),
        wait=wait_exponential(multiplier=limits.backoff, max=_LONGEST_WAIT) + wait_random(0, limits.backoff),
        retry=retry_if_exception(worth),
        sleep=sleep_using_event(cancellation.event),
        before=lambda _: cancellation.check(),
        reraise=True,
    )
