# SPDX-License-Identifier: Apache-2.0
"""What a lease may do: lost, lapsed, fenced, taken and released."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import Cancelled, CancelReason, NodeFaultError
from worker.leases import Heartbeat, Lease, LeaseState, RenewalOutcome
from worker.queues import BatchResult, Outgoing
from worker.testing.leases import VISIBILITY, LeaseBench
from worker.testing.queue import Fault, Gate

CEILING = 43_200
#: The states in which a message is surely this worker's.
CONFIRMED = {LeaseState.HELD, LeaseState.ENDING}


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Runs `work`; its result or exception comes in the list."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 - handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


@pytest.fixture
def bench() -> Iterator[LeaseBench]:
    built = LeaseBench()
    yield built
    built.heartbeat.stop(5)


# -- lost, lapsed, fenced ----------------------------------------------------------------------------------------------


def test_a_refused_renewal_cancels_the_work_and_nobody_elses(bench: LeaseBench) -> None:
    lost, kept = bench.receive(2)
    bench.queue.script("extend", Fault(code="ReceiptHandleIsInvalid", entries=frozenset({0})))
    bench.heartbeat.start()

    bench.clock.run(VISIBILITY / 2)

    assert lost.state is LeaseState.LOST
    assert lost.cancellation.reason is CancelReason.LEASE_LOST
    with pytest.raises(Cancelled) as cancelled:
        lost.fence()
    assert cancelled.value.reason is CancelReason.LEASE_LOST
    assert not bench.table.take(lost)
    assert bench.table.release([lost]) == BatchResult()
    assert bench.table.count == 1
    assert len(bench.lost) == 1
    assert kept.state is LeaseState.HELD
    kept.fence()
    assert bench.renewals[RenewalOutcome.REFUSED] == 1


def test_the_fence_lets_pass_while_the_lease_is_confirmed(bench: LeaseBench) -> None:
    (lease,) = bench.receive(1)
    lease.fence(timeout=0)
    bench.clock.advance(VISIBILITY - 1)
    lease.fence(timeout=0)


def lapse(bench: LeaseBench) -> Lease:
    """A lease whose renewals reached the queue but whose answers were lost, beyond what was confirmed."""
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(code="RequestTimeout", applied=True), times=1000)
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY + 20)
    assert lease.state is LeaseState.LAPSED
    assert lease.cancellation.reason is None, "work goes on"
    assert not bench.lost
    return lease


def test_the_fence_holds_writes_of_a_lapsed_lease_until_a_renewal_succeeds(bench: LeaseBench) -> None:
    lease = lapse(bench)
    thread, outcome = in_thread(lambda: lease.fence(timeout=500))
    bench.clock.settle(2)
    assert not outcome

    bench.queue._faults.clear()
    bench.clock.run(10)

    thread.join(5)
    assert outcome == [None]
    assert lease.state is LeaseState.HELD


def test_the_fence_gives_up_when_the_renewal_is_refused(bench: LeaseBench) -> None:
    lease = lapse(bench)
    thread, outcome = in_thread(lambda: lease.fence(timeout=500))
    bench.clock.settle(2)

    bench.queue._faults.clear()
    bench.queue.script("extend", Fault(code="AWS.SimpleQueueService.MessageNotInflight", entries=frozenset({0})))
    bench.clock.run(10)

    thread.join(5)
    assert isinstance(outcome[0], Cancelled)
    assert outcome[0].reason is CancelReason.LEASE_LOST


def test_the_fence_gives_up_when_the_work_is_called_off(bench: LeaseBench) -> None:
    lease = lapse(bench)
    thread, outcome = in_thread(lambda: lease.fence(timeout=500))
    bench.clock.settle(2)
    lease.cancellation.cancel(CancelReason.SHUTDOWN)
    thread.join(5)
    assert isinstance(outcome[0], Cancelled)
    assert outcome[0].reason is CancelReason.SHUTDOWN


def test_the_fence_raises_a_fault_of_the_node_when_nothing_is_heard(bench: LeaseBench) -> None:
    lease = lapse(bench)
    thread, outcome = in_thread(lambda: lease.fence(timeout=30))
    bench.clock.settle(2)
    bench.clock.run(31)
    thread.join(5)
    assert isinstance(outcome[0], NodeFaultError)
    assert lease.message.id in str(outcome[0])


def test_the_fence_stands_before_a_taken_lease(bench: LeaseBench) -> None:
    (lease,) = bench.receive(1)
    assert bench.table.take(lease)
    with pytest.raises(Cancelled):
        lease.fence()


def test_confirmed_until_counts_from_before_the_request(bench: LeaseBench) -> None:
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(delay=20))
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY / 2 + 20)
    (at,) = [at for at, _, _ in bench.extends()]
    assert lease.confirmed_until == pytest.approx(at - 20 + VISIBILITY)


def test_a_message_that_came_back_goes_on_under_the_lease_that_lapsed(bench: LeaseBench) -> None:
    # Given an outage that outlasts the lease
    (lease,) = bench.receive(1)
    bench.queue.outage(VISIBILITY + 50)
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY + 10)
    assert lease.state not in CONFIRMED
    before = lease.message

    # When the message is received again before the old receipt is refused
    bench.queue._outage_until = 0.0
    messages = bench.queue.receive(10, 0)
    assert bench.table.add(messages) == []

    # Then work goes on, with the new receipt
    assert lease.message is messages[0]
    assert lease.message.receipt != before.receipt
    lease.fence(timeout=0)
    bench.clock.run(3600)
    assert lease.state is LeaseState.HELD
    assert not bench.lost


def test_the_answer_to_an_outdated_receipt_does_not_lose_the_lease(bench: LeaseBench) -> None:
    # Given a renewal under way
    gate = Gate()
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(gate=gate))
    bench.heartbeat.start()
    bench.clock.settle()
    bench.clock.advance(VISIBILITY - 1)
    assert gate.entered.wait(5)

    # When the message comes back meanwhile
    bench.clock.advance(2)
    bench.table.add(bench.queue.receive(10, 0))
    gate.leave.set()
    bench.clock.settle()

    # Then the refusal of the old receipt changes nothing
    assert bench.renewals[RenewalOutcome.REFUSED] == 1
    assert lease.state is LeaseState.HELD


# -- take, release -----------------------------------------------------------------------------------------------------


def test_a_renewal_under_way_lands_before_the_release_never_after(bench: LeaseBench) -> None:
    gate = Gate()
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(gate=gate))
    bench.heartbeat.start()
    bench.clock.settle()
    bench.clock.advance(VISIBILITY / 2)
    assert gate.entered.wait(5)

    # When it is released while its renewal is under way
    thread, outcome = in_thread(lambda: bench.table.release([lease]))
    bench.clock.settle(1)
    assert bench.table.count == 0, "it has left the table, but"
    assert [call.operation for call in bench.queue.calls] == ["send", "receive"], "nothing was released yet"
    gate.leave.set()
    thread.join(5)

    # Then the release comes last, and the message is visible
    assert [call.operation for call in bench.queue.calls][2:] == ["extend", "release"]
    assert outcome == [BatchResult(done=frozenset({lease.message.id}))]
    assert bench.queue.visible == 1
    bench.clock.run(VISIBILITY)
    assert bench.queue.calls[-1].operation == "release"


def test_a_lease_refused_while_it_is_being_taken_is_lost(bench: LeaseBench) -> None:
    gate = Gate()
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(gate=gate, code="ReceiptHandleIsInvalid", entries=frozenset({0})))
    bench.heartbeat.start()
    bench.clock.settle()
    bench.clock.advance(VISIBILITY / 2)
    assert gate.entered.wait(5)
    thread, outcome = in_thread(lambda: bench.table.take(lease))
    bench.clock.settle(1)
    gate.leave.set()
    thread.join(5)
    assert outcome == [False]
    assert lease.cancellation.reason is CancelReason.LEASE_LOST


def test_taking_does_not_wait_for_a_hanging_request_for_ever(bench: LeaseBench) -> None:
    gate = Gate()
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(gate=gate))
    bench.heartbeat.start()
    bench.clock.settle()
    bench.clock.advance(VISIBILITY / 2)
    assert gate.entered.wait(5)
    with capture_logs() as logs:
        thread, outcome = in_thread(lambda: bench.table.take(lease))
        bench.clock.settle(1)
        bench.clock.advance(21)
        thread.join(5)
    assert outcome == [True]
    assert sum(entry["event"] == "take_unsettled" for entry in logs) == 1
    gate.leave.set()


def test_a_shutdown_may_wait_for_less(bench: LeaseBench) -> None:
    gate = Gate()
    bench.receive(1)
    bench.queue.script("extend", Fault(gate=gate))
    bench.heartbeat.start()
    bench.clock.settle()
    bench.clock.advance(VISIBILITY / 2)
    assert gate.entered.wait(5)
    assert bench.table.release_all(timeout=0).done
    gate.leave.set()


def test_only_one_of_many_gets_a_lease(bench: LeaseBench) -> None:
    (lease,) = bench.receive(1)
    results = [in_thread(lambda: bench.table.take(lease)) for _ in range(8)]
    for thread, _ in results:
        thread.join(5)
    assert sorted(outcome[0] for _, outcome in results) == [False] * 7 + [True]  # type: ignore[type-var]


def test_release_gives_back_the_last_received_first(bench: LeaseBench) -> None:
    leases = bench.receive(12)
    result = bench.table.release(leases, delay=30)
    assert result.done == {lease.message.id for lease in leases}
    released = [call for call in bench.queue.calls if call.operation == "release"]
    assert [len(call.ids) for call in released] == [10, 2]
    assert released[0].ids[0] == leases[-1].message.id
    assert set(released[0].seconds) == {30}
    assert bench.queue.visible == 0
    bench.clock.advance(30)
    assert bench.queue.visible == 12


def test_a_release_that_fails_is_logged_and_the_rest_goes_through(bench: LeaseBench) -> None:
    leases = bench.receive(3)
    bench.queue.script("release", Fault(code="InternalError", entries=frozenset({1})))
    with capture_logs() as logs:
        result = bench.table.release(leases)
    assert set(result.failed) == {leases[1].message.id}
    assert [entry["message"] for entry in logs if entry["event"] == "release_failed"] == [leases[1].message.id]
    assert bench.queue.visible == 2
    assert bench.table.count == 0


def test_release_all_empties_the_table(bench: LeaseBench) -> None:
    bench.receive(11)
    assert bench.table.count == 11
    bench.table.release_all()
    assert bench.table.count == 0
    assert bench.queue.visible == 11
    assert bench.table.release_all() == BatchResult()


def test_a_restored_lease_is_renewed_again(bench: LeaseBench) -> None:
    (lease,) = bench.receive(1)
    bench.heartbeat.start()
    bench.clock.run(60)
    assert bench.table.take(lease)
    bench.clock.run(100)
    assert bench.extends() == []
    bench.table.restore(lease)
    bench.clock.run(600)
    assert bench.queue.visible == 0
    assert lease.state is LeaseState.HELD


def test_a_lost_lease_cannot_be_restored(bench: LeaseBench) -> None:
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(code="ReceiptHandleIsInvalid", entries=frozenset({0})))
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY / 2)
    bench.table.restore(lease)
    assert bench.table.count == 0


def test_leases_that_end_are_not_asked_for_and_hold_up_no_others() -> None:
    # Given one lease that lapsed and came near its 12 h, and another that is due with it
    bench = LeaseBench()
    (old,) = bench.receive(1)
    bench.clock.advance(CEILING - 20 - VISIBILITY / 2)
    bench.queue.send(None, Outgoing("new"))
    (new,) = bench.table.add([message for message in bench.queue.receive(10, 0) if message.body == "new"])
    bench.clock.advance(VISIBILITY / 2)
    # When the next request is made
    (renewal,) = bench.table.begin_renewals()
    # Then it renews the one of which something is left
    assert renewal.lease is new
    assert old.record.state is LeaseState.ENDING
    assert (old.record.in_flight, new.record.in_flight) == (False, True)


def test_where_one_visibility_timeout_is_all_of_the_twelve_hours_no_renewal_is_asked_for() -> None:
    bench = LeaseBench(CEILING)
    leases = bench.receive(2)
    bench.heartbeat = Heartbeat(bench.table, bench.queue, bench.clock, longest_pause=1000)
    bench.heartbeat.start()
    bench.clock.run(CEILING / 2)
    assert bench.heartbeat.errors == 0
    assert bench.extends() == []
    assert [lease.state for lease in leases] == [LeaseState.ENDING] * 2
    assert not any(lease.record.in_flight for lease in leases)
    bench.heartbeat.stop(5)


def test_an_outage_until_the_ceiling_never_asks_for_zero_seconds() -> None:
    # Given a lease that lapses in the last minutes of its 12 h
    bench = LeaseBench()
    bench.heartbeat = Heartbeat(bench.table, bench.queue, bench.clock, longest_pause=1000)
    (lease,) = bench.receive(1)
    bench.heartbeat.start()
    bench.clock.run(CEILING - 500)
    asked = len(bench.extends())
    bench.queue.script("extend", Fault(code="RequestTimeout", applied=True), times=1000)
    with capture_logs():
        bench.clock.run(600)
    assert len(bench.extends()) > asked
    assert all(seconds[0] > 0 for _, _, seconds in bench.extends())
    assert lease.state is LeaseState.LOST
    bench.heartbeat.stop(5)
