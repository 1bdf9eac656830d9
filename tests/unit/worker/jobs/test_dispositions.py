# SPDX-License-Identifier: Apache-2.0
"""What each disposition does to its message; one that has no case here fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from worker.jobs.finish import Finisher
from worker.leases import LeaseTable
from worker.leases.deleter import Deleter
from worker.outcomes import Disposition, JobOutcome, outcome_of
from worker.queues import Message, Outgoing
from worker.receive.delivery import Delivery
from worker.testing.clock import FakeClock
from worker.testing.queue import FakeQueue

LEASE = 300
DELAY = 77

#: Seconds until the message can be received again; None: it is deleted.
HIDDEN = {Disposition.DELETE: None, Disposition.RETRY: DELAY, Disposition.RELEASE: 0, Disposition.ABANDON: LEASE}
#: The outcome of a job that has no other.
OUTCOMES = {
    Disposition.RETRY: JobOutcome.RETRIED,
    Disposition.RELEASE: JobOutcome.RELEASED,
    Disposition.ABANDON: JobOutcome.LEASE_LOST,
}

nothing: Any = None  # what letting go of a message does not need


@contextmanager
def held(queue: FakeQueue, clock: FakeClock) -> Iterator[tuple[Finisher, Delivery, Message]]:
    """A message of one job, held by a finisher that can dispose of it."""
    table = LeaseTable(queue, clock, visibility_timeout=LEASE)
    deleter = Deleter(table, queue, clock)
    queue.send(None, Outgoing("body"))
    (message,) = queue.receive(1, 0)
    (lease,) = table.add([message])
    finisher = Finisher(nothing, nothing, nothing, table, deleter, nothing, nothing)
    deleter.start()
    yield finisher, Delivery(lease, 1), message
    assert deleter.stop(5)  # deletes what is pending


@pytest.mark.parametrize("disposition", Disposition)
def test_the_message_is_disposed_of(disposition: Disposition) -> None:
    clock = FakeClock()
    queue = FakeQueue(clock)
    received_at = clock.now()

    with held(queue, clock) as (finisher, delivery, message):
        finisher.dispose(delivery, disposition, DELAY)

    seconds = HIDDEN[disposition]
    if seconds is None:
        assert len(queue) == 0
    else:
        assert queue.visible_at(message.id) == received_at + seconds


@pytest.mark.parametrize("disposition", [each for each in Disposition if each is not Disposition.DELETE])
def test_a_job_without_an_outcome_of_its_own_gets_one(disposition: Disposition) -> None:
    assert outcome_of(disposition) is OUTCOMES[disposition]


def test_a_job_whose_message_is_deleted_has_an_outcome_of_its_own() -> None:
    with pytest.raises(ValueError, match="outcome of its own"):
        outcome_of(Disposition.DELETE)
