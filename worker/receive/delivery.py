# SPDX-License-Identifier: Apache-2.0
"""One delivery of a message and the jobs in it; what becomes of the message once all of them are settled."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from enum import IntEnum

from sqscribe.errors import CancelReason
from worker.leases import Lease
from worker.queues import Message
from worker.receive.lineage import Lineage

__all__ = ["Delivery", "Fate", "backoff"]

#: First back-off after a transient failure, doubled with every receive.
BACKOFF_SECONDS = 15.0
#: Longest back-off; SQS would allow 12 h, but sources come back sooner.
BACKOFF_MAX_SECONDS = 900.0


class Fate(IntEnum):
    """What becomes of the message; of several jobs in one message, the greatest fate wins."""

    DELETE = 0  # every job is done, or failed for good and was dead-lettered
    RETRY = 1  # comes back after a back-off
    RELEASE = 2  # comes back at once: nothing is wrong with it
    ABANDON = 3  # somebody else has it now: it is not touched


@dataclass(frozen=True, slots=True)
class Settled:
    """A delivery of which every job is settled."""

    delivery: Delivery
    fate: Fate


class Delivery:
    """A message, its lease, and how many of its jobs are still open.

    Attributes:
        alone: Whether the message holds one job; of several, one that fails is dead-lettered as a message of its own.
    """

    def __init__(self, lease: Lease, jobs: int) -> None:
        self.lease = lease
        self.alone = jobs == 1
        self._lock = threading.Lock()  # guards _open and _fate
        self._open = jobs
        self._fate = Fate.DELETE

    @property
    def message(self) -> Message:
        """The message."""
        return self.lease.message

    @property
    def lineage(self) -> Lineage:
        """Where the message stands among its copies."""
        return Lineage.of(self.message)

    @property
    def origin(self) -> str:
        """Id of the first message of this job's line of copies."""
        return self.lineage.origin

    @property
    def again(self) -> bool:
        """Whether a worker may have begun on it before, so that something of its work may stand."""
        return self.message.receive_count > 1 or self.lineage.generation > 0

    def settle(self, fate: Fate) -> Fate | None:
        """Counts one job as settled; gives the message's fate once it was the last one, else None."""
        with self._lock:
            self._open -= 1
            self._fate = max(self._fate, fate)
            return self._fate if self._open == 0 else None


def fate_of(reason: CancelReason) -> Fate:
    """What a job that was called off means for its message."""
    return Fate.ABANDON if reason is CancelReason.LEASE_LOST else Fate.RELEASE


def backoff(receive_count: int) -> int:
    """Whole seconds until a message with a transient failure is tried again, spread so that jobs do not return in step.

    Doubles with every receive, from `BACKOFF_SECONDS` to `BACKOFF_MAX_SECONDS`, times 0.75 to 1.25.
    """
    seconds = min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2.0 ** min(receive_count - 1, 10))
    return round(seconds * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load, guards nothing
