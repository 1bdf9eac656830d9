# SPDX-License-Identifier: Apache-2.0
"""Leases for tests of what holds them."""

from __future__ import annotations

import random
from collections import Counter

from worker.leases import Heartbeat, Lease, LeaseTable, RenewalOutcome
from worker.queues import Outgoing
from worker.testing.clock import FakeClock
from worker.testing.queue import BATCH, FakeQueue

__all__ = ["VISIBILITY", "LeaseBench", "lease_new"]

#: Seconds of a lease, unless a test says otherwise.
VISIBILITY = 300


def lease_new(queue: FakeQueue, table: LeaseTable, count: int) -> list[Lease]:
    """Sends so many messages and receives them into the table."""
    for number in range(count):
        queue.send(None, Outgoing(f"body {number}"))
    leases: list[Lease] = []
    while len(leases) < count:
        leases += table.add(queue.receive(BATCH, 0))
    return leases


class LeaseBench:
    """A queue with messages, a table that holds them, and a heartbeat that a test may start.

    Args:
        visibility: Seconds of a lease.

    Attributes:
        renewals: How many renewals ended how.
        lost: As many entries as leases were lost.
    """

    def __init__(self, visibility: int = VISIBILITY) -> None:
        self.clock = FakeClock()
        self.queue = FakeQueue(self.clock, visibility_timeout=visibility)
        self.renewals: Counter[RenewalOutcome] = Counter()
        self.lost: list[None] = []
        self.table = LeaseTable(
            self.queue,
            self.clock,
            visibility_timeout=visibility,
            on_renewals=self._renewed,
            on_lost=lambda: self.lost.append(None),
            rng=random.Random(7),  # noqa: S311 - the same every time
        )
        self.heartbeat = Heartbeat(self.table, self.queue, self.clock)

    def _renewed(self, outcome: RenewalOutcome, count: int) -> None:
        self.renewals[outcome] += count

    def receive(self, count: int) -> list[Lease]:
        """Sends so many messages and holds them."""
        return lease_new(self.queue, self.table, count)

    def extends(self) -> list[tuple[float, tuple[str, ...], tuple[int, ...]]]:
        """Every request to hide messages for longer: when, of which, for how many seconds."""
        return [(call.at, call.ids, call.seconds) for call in self.queue.calls if call.operation == "extend"]
