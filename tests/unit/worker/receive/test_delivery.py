# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import threading

import pytest

from sqscribe.errors import CancelReason
from worker.leases import LeaseTable
from worker.outcomes import BACKOFF_MAX_SECONDS, BACKOFF_SECONDS, Disposition, backoff, disposition_of
from worker.queues import Outgoing
from worker.receive.delivery import Delivery
from worker.testing.clock import FakeClock
from worker.testing.queue import FakeQueue


def deliver(jobs: int, **attributes: str) -> Delivery:
    clock = FakeClock()
    queue = FakeQueue(clock)
    queue.send(None, Outgoing("body", attributes))
    (lease,) = LeaseTable(queue, clock, visibility_timeout=300).add(queue.receive(1, 0))
    return Delivery(lease, jobs)


@pytest.mark.parametrize("disposition", Disposition)
def test_the_disposition_of_the_only_job_is_the_messages(disposition: Disposition) -> None:
    delivery = deliver(1)
    assert delivery.single_job
    assert delivery.settle(disposition) is disposition


@pytest.mark.parametrize("dispositions", list(itertools.product(Disposition, repeat=3)))
def test_of_several_jobs_the_last_one_decides_when_and_the_worst_one_what(
    dispositions: tuple[Disposition, ...],
) -> None:
    delivery = deliver(3)
    assert not delivery.single_job
    assert [delivery.settle(disposition) for disposition in dispositions] == [None, None, max(dispositions)]


def test_a_message_somebody_else_has_is_left_alone_whatever_else_happened() -> None:
    assert max(Disposition) is Disposition.ABANDON
    # And a job that must come back keeps the message from being deleted, a shutdown lets it come back at once
    assert Disposition.DELETE < Disposition.RETRY < Disposition.RELEASE


def test_jobs_that_end_at_the_same_time_give_one_disposition() -> None:
    delivery = deliver(32)
    start = threading.Barrier(8)
    dispositions: list[Disposition] = []

    def settle() -> None:
        start.wait(10)
        dispositions.extend(
            disposition for _ in range(4) if (disposition := delivery.settle(Disposition.RETRY)) is not None
        )

    threads = [threading.Thread(target=settle) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dispositions == [Disposition.RETRY]


def test_the_origin_is_the_first_message_of_a_line_of_copies() -> None:
    assert deliver(1, sqscribe_origin="m-0").origin == "m-0"
    fresh = deliver(1)
    assert fresh.origin == fresh.message.id


def test_only_a_lost_lease_leaves_the_message_alone() -> None:
    dispositions = {reason: disposition_of(reason) for reason in CancelReason}
    assert {reason for reason, disposition in dispositions.items() if disposition is Disposition.ABANDON} == {
        CancelReason.LEASE_LOST
    }
    assert {disposition for reason, disposition in dispositions.items() if reason is not CancelReason.LEASE_LOST} == {
        Disposition.RELEASE
    }


def test_the_back_off_grows_with_the_receives_and_is_bounded() -> None:
    spread = [[backoff(count) for _ in range(300)] for count in range(1, 40)]
    for count, drawn in enumerate(spread):
        middle = min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2**count)
        assert all(0.75 * middle - 1 <= seconds <= 1.25 * middle + 1 for seconds in drawn)
        assert len(set(drawn)) > 3
    assert all(isinstance(seconds, int) for drawn in spread for seconds in drawn)
    means = [sum(drawn) / len(drawn) for drawn in spread[:6]]
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(means))
    # What SQS takes, and after thousands of receives too
    assert backoff(100_000) <= 43_200
