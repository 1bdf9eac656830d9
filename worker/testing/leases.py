# SPDX-License-Identifier: Apache-2.0
"""Leases for tests of what holds them."""

from __future__ import annotations

from worker.leases import Lease, LeaseTable
from worker.queues import Outgoing
from worker.testing.queue import BATCH, FakeQueue

__all__ = ["lease_new"]


def lease_new(queue: FakeQueue, table: LeaseTable, count: int) -> list[Lease]:
    """Sends so many messages and receives them into the table."""
    for number in range(count):
        queue.send(None, Outgoing(f"body {number}"))
    leases: list[Lease] = []
    while len(leases) < count:
        leases += table.add(queue.receive(BATCH, 0))
    return leases
