# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from worker.leases import Heartbeat, Lease, LeaseState, LeaseTable
from worker.leases.deleter import DeleteOutcome, Deleter
from worker.queues import Outgoing
from worker.testing.clock import FakeClock
from worker.testing.leases import lease_new
from worker.testing.queue import FakeQueue, Fault


@dataclass
class Bench:
    clock: FakeClock
    queue: FakeQueue
    table: LeaseTable
    deleter: Deleter
    told: list[str | None]

    def receive(self, count: int) -> list[Lease]:
        return lease_new(self.queue, self.table, count)

    def deletes(self) -> list[tuple[str, ...]]:
        return [call.ids for call in self.queue.calls if call.operation == "delete"]

    def outcome(self, future: Future[DeleteOutcome], seconds: float, waiters: int = 1) -> DeleteOutcome:
        """Lets time pass until the outcome is there."""
        for _ in range(round(seconds * 10)):
            if future.done():
                break
            self.clock.run(0.1, waiters=waiters)
        return future.result(5)


@pytest.fixture
def bench() -> Iterator[Bench]:
    clock = FakeClock()
    queue = FakeQueue(clock)
    table = LeaseTable(queue, clock, visibility_timeout=300, rng=random.Random(1))
    told: list[str | None] = []
    deleter = Deleter(table, queue, clock, linger=0.2, on_trouble=told.append)
    deleter.start()
    yield Bench(clock, queue, table, deleter, told)
    deleter.stop(5)


def test_ten_deletes_go_in_one_request_at_once(bench: Bench) -> None:
    futures = [bench.deleter.delete(lease) for lease in bench.receive(10)]
    assert {future.result(5) for future in futures} == {DeleteOutcome.DELETED}
    assert [len(ids) for ids in bench.deletes()] == [10]
    assert len(bench.queue) == 0
    assert bench.table.count == 0


def test_fewer_wait_for_company_but_not_for_long(bench: Bench) -> None:
    first, second = bench.receive(2)
    early = bench.deleter.delete(first)
    bench.clock.settle()
    bench.clock.run(0.1)
    late = bench.deleter.delete(second)
    assert bench.deletes() == []
    bench.clock.run(0.11)
    assert early.result(5) is late.result(5) is DeleteOutcome.DELETED
    assert [len(ids) for ids in bench.deletes()] == [2]


def test_the_entry_that_failed_is_repeated_alone_and_its_lease_goes_on_meanwhile(bench: Bench) -> None:
    leases = bench.receive(10)
    bench.queue.script("delete", Fault(code="InternalError", entries=frozenset({3})))
    futures = [bench.deleter.delete(lease) for lease in leases]
    for place, future in enumerate(futures):
        if place != 3:
            assert future.result(5) is DeleteOutcome.DELETED
    bench.clock.settle()
    assert leases[3].state is LeaseState.HELD
    assert bench.table.count == 1

    assert bench.outcome(futures[3], 5) is DeleteOutcome.DELETED
    assert bench.deletes()[-1] == (leases[3].message.id,)
    assert len(bench.queue) == 0


def test_an_outage_costs_no_message(bench: Bench) -> None:
    # Given a queue that is away for longer than a lease, whose heartbeat fails likewise
    (lease,) = bench.receive(1)
    heartbeat = Heartbeat(bench.table, bench.queue, bench.clock)
    heartbeat.start()
    bench.queue.script("delete", Fault(code="ServiceUnavailable"), times=1000)
    future = bench.deleter.delete(lease)

    # Then the lease is kept while the delete is repeated
    bench.clock.run(100, waiters=2)
    with pytest.raises(FutureTimeoutError):
        future.result(0)
    assert bench.queue.visible == 0

    bench.queue._faults.clear()
    bench.clock.run(10, waiters=2)
    assert future.result(5) is DeleteOutcome.DELETED
    heartbeat.stop(5)


@pytest.mark.parametrize("stall", [120, 140])
@pytest.mark.parametrize("where", ["before the effect", "after it", "in turn"])
def test_where_every_call_takes_two_minutes_no_message_is_lost(bench: Bench, stall: float, where: str) -> None:
    # Given a queue each of whose calls takes so long
    faults = {
        "before the effect": [Fault(delay=stall)],
        "after it": [Fault(lag=stall)],
        "in turn": [Fault(lag=stall), Fault(delay=stall)],
    }
    for operation in ("receive", "extend", "delete"):
        bench.queue.script(operation, *faults[where], times=50)
    heartbeat = Heartbeat(bench.table, bench.queue, bench.clock)
    heartbeat.start()
    for number in range(10):
        bench.queue.send(None, Outgoing(f"body {number}"))
    received: list[Lease] = []
    receive = threading.Thread(target=lambda: received.extend(bench.table.add(bench.queue.receive(10, 0))), daemon=True)
    receive.start()
    bench.clock.run(stall, waiters=2)
    receive.join(10)
    # Then no other worker gets any of them while they are worked on
    for _ in range(180):
        bench.clock.run(10, waiters=2)
        assert bench.queue.visible == 0
    assert [lease.state for lease in received] == [LeaseState.HELD] * 10
    # And all are deleted in the end
    futures = [bench.deleter.delete(lease) for lease in received]
    outcomes = {bench.outcome(future, 20 * stall, waiters=2) for future in futures}
    assert outcomes == {DeleteOutcome.DELETED}
    assert len(bench.queue) == 0
    bench.queue._faults.clear()
    bench.clock.advance(stall)  # lets go of what is under way
    heartbeat.stop(5)


def test_one_message_that_cannot_be_deleted_does_not_hold_up_the_others(bench: Bench) -> None:
    stuck, other = bench.receive(2)
    bench.queue.script("delete", Fault(code="InternalError"), times=4)
    stuck_future = bench.deleter.delete(stuck)
    bench.clock.run(0.3)
    other_future = bench.deleter.delete(other)
    assert bench.outcome(other_future, 20) is DeleteOutcome.DELETED
    assert bench.outcome(stuck_future, 20) is DeleteOutcome.DELETED


def test_a_lost_lease_is_not_deleted(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    assert bench.table.take(lease)
    assert bench.outcome(bench.deleter.delete(lease), 1) is DeleteOutcome.LOST
    assert bench.deletes() == []


def test_a_refused_delete_is_lost(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    bench.queue.script("delete", Fault(code="ReceiptHandleIsInvalid", entries=frozenset({0})))
    assert bench.outcome(bench.deleter.delete(lease), 1) is DeleteOutcome.LOST
    assert bench.table.count == 0


def test_a_lapsed_lease_is_not_deleted_before_it_is_confirmed(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    future = bench.deleter.delete(lease)
    bench.clock.settle()
    bench.clock.advance(301)
    bench.clock.settle()
    assert lease.state is LeaseState.LAPSED
    assert bench.deletes() == []
    # When the message comes back to this worker, its lease is confirmed again
    bench.table.add(bench.queue.receive(1, 0))
    assert bench.outcome(future, 10) is DeleteOutcome.DELETED


def test_stop_deletes_what_is_pending_at_once(bench: Bench) -> None:
    futures = [bench.deleter.delete(lease) for lease in bench.receive(12)]
    assert bench.deleter.stop(5)
    assert [future.result(0) for future in futures] == [DeleteOutcome.DELETED] * 12
    assert not bench.deleter.alive


def test_stop_leaves_what_cannot_be_deleted_to_be_released(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    bench.queue.script("delete", Fault(code="ServiceUnavailable"), times=100)
    future = bench.deleter.delete(lease)
    assert bench.deleter.stop(5)
    assert future.result(0) is DeleteOutcome.UNKNOWN
    assert bench.table.release_all().done == {lease.message.id}


def test_a_stopped_deleter_takes_nothing(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    assert bench.deleter.stop(5)
    with pytest.raises(RuntimeError, match="does not run"):
        bench.deleter.delete(lease)
    with pytest.raises(RuntimeError, match="already started"):
        bench.deleter.start()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_is_told_to_those_who_wait_and_ends_the_thread(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    bench.queue.script("delete", Fault(raises=ZeroDivisionError("a bug")))
    with capture_logs():
        future = bench.deleter.delete(lease)
        bench.clock.settle()
        bench.clock.advance(1)
        with pytest.raises(ZeroDivisionError):
            future.result(5)
    assert bench.deleter.stop(5)


def test_what_keeps_every_delete_from_being_answered_is_told_until_one_is(bench: Bench) -> None:
    first, second = bench.receive(2)
    bench.queue.script("delete", Fault(code="AccessDenied", message="no"), times=2)
    assert bench.outcome(bench.deleter.delete(first), 60) is DeleteOutcome.DELETED
    assert bench.told == ["AccessDenied: no", "AccessDenied: no", None]
    # And one message that cannot be deleted by itself is nobody else's trouble
    bench.queue.script("delete", Fault(code="InternalError", message="no", entries=frozenset({0})))
    assert bench.outcome(bench.deleter.delete(second), 60) is DeleteOutcome.DELETED
    assert set(bench.told[2:]) == {None}
