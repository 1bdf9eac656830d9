# SPDX-License-Identifier: Apache-2.0
"""The words for where a job is, how it ended here, and what becomes of its message."""

from __future__ import annotations

import random
from enum import IntEnum, StrEnum
from typing import assert_never

from sqscribe.errors import CancelReason

__all__ = ["Disposition", "JobOutcome", "Stage", "backoff", "disposition_of", "outcome_of"]

#: First back-off after a transient failure, doubled with every receive.
BACKOFF_SECONDS = 15.0
#: Longest back-off; SQS would allow 12 h, but sources come back sooner.
BACKOFF_MAX_SECONDS = 900.0


class Stage(StrEnum):
    """Where a job is; also the keys of `timings` in `result.json`."""

    FETCH = "fetch"
    DECODE = "decode"
    SEGMENT = "segment"
    WAIT = "wait"
    INFERENCE = "inference"
    PUBLISH = "publish"


class JobOutcome(StrEnum):
    """How one delivery of a job ended on this worker."""

    SUCCEEDED = "succeeded"
    ALREADY_DONE = "already_done"  # a succeeded result stood; missing formats may have been rendered
    FAILED = "failed"  # recorded and dead-lettered
    RETRIED = "retried"  # put back with a back-off
    RELEASED = "released"  # put back at shutdown
    LEASE_LOST = "lease_lost"
    HANDED_OVER = "handed_over"  # goes on in a fresh copy of the message
    SUPERSEDED = "superseded"  # a later copy of the message was on its way


class Disposition(IntEnum):
    """What becomes of the message; of several jobs in one message, the greatest disposition wins."""

    DELETE = 0  # every job is done, or failed for good and was dead-lettered
    RETRY = 1  # comes back after a back-off
    RELEASE = 2  # comes back at once: nothing is wrong with it
    ABANDON = 3  # somebody else has it now: it is not touched


def disposition_of(reason: CancelReason) -> Disposition:
    """What a job that was called off means for its message."""
    return Disposition.ABANDON if reason is CancelReason.LEASE_LOST else Disposition.RELEASE


def outcome_of(disposition: Disposition) -> JobOutcome:
    """How a job ended that brought its message this disposition, where nothing else is said of it."""
    match disposition:
        case Disposition.DELETE:
            raise ValueError("a job whose message is deleted has an outcome of its own")
        case Disposition.RETRY:
            return JobOutcome.RETRIED
        case Disposition.RELEASE:
            return JobOutcome.RELEASED
        case Disposition.ABANDON:
            return JobOutcome.LEASE_LOST
        case _:
            assert_never(disposition)


def backoff(receive_count: int) -> int:
    """Whole seconds until a message with a transient failure is tried again, spread so that jobs do not return in step.

    Doubles with every receive, from `BACKOFF_SECONDS` to `BACKOFF_MAX_SECONDS`, times 0.75 to 1.25.
    """
    seconds = min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2.0 ** min(receive_count - 1, 10))
    return round(seconds * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load, guards nothing
