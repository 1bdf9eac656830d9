# SPDX-License-Identifier: Apache-2.0
"""Renewals: which leases share the next request, for how long each is asked for, and when the next try is due."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from worker.leases.lease import Lease, LeaseRecord, LeaseState
from worker.queues import BATCH, BatchResult, Message

__all__ = ["Renewal", "RenewalOutcome", "RenewalSchedule"]

log = structlog.get_logger()

#: SQS keeps a message hidden for at most so many seconds after the receive; extending never resets it.
CEILING_SECONDS = 43_200.0
#: The last so many seconds of it are not asked for: asking for more than is left is an error, and clocks differ.
CEILING_MARGIN_SECONDS = 30.0
#: When a lease is renewed, as fractions of the visibility timeout; drawn anew each time, so that workers do not beat in
#: step. The later one leaves 180 of 300 s to outlast an outage in.
RENEW_FRACTIONS = (0.3, 0.4)
#: A lease that is due within this fraction of the visibility timeout shares the request of one that is due now.
COMPANY_FRACTION = 0.1
#: After a renewal that failed, fractions of what is left: tries grow denser as the end comes near.
RETRY_FRACTIONS = (0.05, 0.1)
#: A beat that comes later than this fraction of the visibility timeout is reported.
LATE_FRACTION = 0.1


class RenewalOutcome(StrEnum):
    """What the queue said to a renewal."""

    RENEWED = "renewed"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Renewal:
    """One message of a request that renews leases.

    Attributes:
        message: As it is when the request is made; the lease may have a newer receipt before the answer is there.
        seconds: How long to hide it from now on; a whole number, as SQS wants it.
        last: Whether it reaches the end of the 12 h.
    """

    record: LeaseRecord
    lease: Lease
    message: Message
    seconds: int
    last: bool

    def gains_nothing(self, now: float) -> bool:
        """Whether there is nothing left to ask for; 0 seconds would give the message back."""
        return self.seconds == 0 or now + self.seconds <= self.record.confirmed_until

    def outcome(self, result: BatchResult) -> RenewalOutcome:
        """What the queue's answer says of this message; one that it does not name counts as failed."""
        if self.message.id in result.done:
            return RenewalOutcome.RENEWED
        return RenewalOutcome.REFUSED if self.message.id in result.refused else RenewalOutcome.FAILED


class RenewalSchedule:
    """Decides when leases are renewed. Reads the records of leases, and is asked under the lease table's lock.

    Args:
        visibility_timeout: Seconds that a renewal hides a message for.
        ceiling: Seconds after the receive for which the queue hides a message at most.
        margin: The last so many seconds of the ceiling are not asked for.
        shortest_retry: Fewest seconds between two tries to renew a lease.
        lapsed_retry: Seconds between two tries once it has lapsed.
        rng: Draws the jitter.
    """

    def __init__(
        self,
        *,
        visibility_timeout: int,
        ceiling: float,
        margin: float,
        shortest_retry: float,
        lapsed_retry: float,
        rng: random.Random,
    ) -> None:
        self._visibility_timeout = visibility_timeout
        self._lifetime = ceiling - margin
        self._shortest_retry = shortest_retry
        self._lapsed_retry = lapsed_retry
        self._rng = rng

    def request(self, leases: Collection[Lease], now: float) -> list[Renewal]:
        """Up to ten renewals, if one of the leases is due; the one that runs out first coming first."""
        waiting = [lease for lease in leases if lease.record.state is LeaseState.HELD and not lease.record.in_flight]
        due_at = min((lease.record.due_at for lease in waiting), default=math.inf)
        if due_at > now:
            return []
        if now - due_at > max(self._shortest_retry, self._visibility_timeout * LATE_FRACTION):
            log.warning("heartbeat_late", seconds=round(now - due_at, 1), leases=len(leases))
        horizon = now + self._visibility_timeout * COMPANY_FRACTION
        # A lease that is failing has no company: asked again and again, it would keep the round from ending.
        company = [lease for lease in waiting if lease.record.due_at <= (now if lease.record.failing else horizon)]
        first = sorted(company, key=lambda lease: lease.confirmed_until)[:BATCH]
        return [self._renewal(lease, now) for lease in first]

    def due_at(self, sent_at: float, now: float) -> float:
        """When a lease is renewed that was received or renewed by a request sent at `sent_at`."""
        due_at = sent_at + self._visibility_timeout * self._rng.uniform(*RENEW_FRACTIONS)
        # A long poll or a slow answer may have used that up; the lease is due at once then, which is not late.
        return max(due_at, now)

    def retry_at(self, renewals: Sequence[Renewal], now: float) -> float:
        """When a request that failed is made again: one time for all in it, so that they stay one request."""
        left = min(renewal.record.confirmed_until for renewal in renewals) - now
        pause = left * self._rng.uniform(*RETRY_FRACTIONS) if left > 0 else self._lapsed_retry
        return now + max(self._shortest_retry, pause)

    def _renewal(self, lease: Lease, now: float) -> Renewal:
        left = max(0, math.floor(lease.message.received_at + self._lifetime - now))
        seconds = min(self._visibility_timeout, left)
        return Renewal(lease.record, lease, lease.message, seconds, last=left <= self._visibility_timeout)
