# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import Cancelled, CancelReason, NodeFaultError
from worker.leases import Heartbeat, Lease, LeaseState, LeaseTable
from worker.leases.lease import RenewalOutcome
from worker.queues import BatchResult, Message, Outgoing
from worker.testing.clock import FakeClock
from worker.testing.queue import FakeQueue, Fault, Gate

VISIBILITY = 300
CEILING = 43_200


@dataclass
class Bench:
    """A queue with messages, a table that holds them, and a heartbeat that a test may start."""

    clock: FakeClock
    queue: FakeQueue
    table: LeaseTable
    heartbeat: Heartbeat
    renewals: Counter[RenewalOutcome]
    lost: list[None]
    ending: list[Lease]

    def receive(self, count: int) -> list[Lease]:
        for number in range(count):
            self.queue.send(None, Outgoing(f"body {number}"))
        leases: list[Lease] = []
        while len(leases) < count:
            leases += self.table.add(self.queue.receive(10, 0))
        return leases

    def extends(self) -> list[tuple[float, tuple[str, ...], tuple[int, ...]]]:
        return [(call.at, call.ids, call.seconds) for call in self.queue.calls if call.operation == "extend"]


def build(visibility: int = VISIBILITY) -> Bench:
    clock = FakeClock()
    queue = FakeQueue(clock, visibility_timeout=visibility)
    renewals: Counter[RenewalOutcome] = Counter()
    lost: list[None] = []
    ending: list[Lease] = []

    def renewed(outcome: RenewalOutcome, count: int) -> None:
        renewals[outcome] += count

    table = LeaseTable(
        queue,
        clock,
        visibility_timeout=visibility,
        on_renewals=renewed,
        on_lost=lambda: lost.append(None),
        on_ending=ending.append,
        rng=random.Random(7),
    )
    return Bench(clock, queue, table, Heartbeat(table, queue, clock), renewals, lost, ending)


@pytest.fixture
def bench() -> Iterator[Bench]:
    built = build()
    yield built
    built.heartbeat.stop(5)


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


# -- heartbeat -------------------------------------------------------------------------------------------------------


def test_messages_stay_hidden_for_hours_in_requests_of_ten_at_most(bench: Bench) -> None:
    leases = bench.receive(25)
    bench.heartbeat.start()

    bench.clock.run(3 * 3600)

    assert bench.queue.visible == 0
    assert all(lease.confirmed for lease in leases)
    assert not bench.lost
    assert set(bench.renewals) == {RenewalOutcome.RENEWED}
    assert max(len(ids) for _, ids, _ in bench.extends()) == 10
    # 25 leases need three requests a round, and a round at least every 90 s.
    assert len(bench.extends()) <= 3 * (3 * 3600 / 80)


def test_every_renewal_comes_before_half_of_the_timeout_and_not_in_step(bench: Bench) -> None:
    leases = bench.receive(3)
    bench.heartbeat.start()

    bench.clock.run(3600)

    for lease in leases:
        times = [at for at, ids, _ in bench.extends() if lease.message.id in ids]
        gaps = [later - earlier for earlier, later in itertools.pairwise([lease.message.received_at, *times])]
        assert max(gaps) <= VISIBILITY / 2
        assert min(gaps) >= VISIBILITY * 0.2
        assert len({round(gap, 3) for gap in gaps}) > 10, "no jitter"


def test_a_lease_that_comes_in_is_renewed_though_the_heartbeat_was_at_rest(bench: Bench) -> None:
    bench.heartbeat.start()
    bench.clock.settle()
    bench.receive(1)
    bench.clock.run(VISIBILITY / 2)
    assert len(bench.extends()) == 1


def test_a_message_that_waited_in_a_long_poll_is_renewed_at_once() -> None:
    # Given a poll that took longer than the lease that it asked for
    bench = build(visibility=10)
    bench.queue.send(None, Outgoing("late"))
    (message,) = bench.queue.receive(1, 0)
    bench.clock.advance(9)
    bench.table.add([message])
    bench.heartbeat.start()
    bench.clock.settle()
    assert [seconds for _, _, seconds in bench.extends()] == [(10,)]
    bench.heartbeat.stop(5)


def test_nothing_kills_the_heartbeat(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(raises=RuntimeError("a bug")), Fault(raises=KeyError("another")), times=5)
    bench.heartbeat.start()

    with capture_logs() as logs:
        bench.clock.run(VISIBILITY - 10)

    assert bench.heartbeat.alive
    assert bench.heartbeat.errors == 10
    assert sum(entry["event"] == "heartbeat_error" for entry in logs) == 10
    assert lease.state is LeaseState.HELD
    assert bench.renewals[RenewalOutcome.FAILED] == 10
    assert bench.renewals[RenewalOutcome.RENEWED] >= 1


def test_a_listener_that_fails_does_not_kill_it_either() -> None:
    bench = build()
    leases = bench.receive(1)

    def broken(_outcome: RenewalOutcome, _count: int) -> None:
        raise ValueError("a bug in the metrics")

    bench.table._on_renewals = broken
    bench.heartbeat.start()
    with capture_logs():  # tracebacks are slow to print
        bench.clock.run(3600)
    assert bench.heartbeat.alive
    assert bench.heartbeat.errors > 10
    assert leases[0].confirmed
    bench.heartbeat.stop(5)


def test_start_raises_while_it_runs_and_works_again_after_a_stop(bench: Bench) -> None:
    bench.heartbeat.start()
    with pytest.raises(RuntimeError, match="already running"):
        bench.heartbeat.start()
    assert bench.heartbeat.stop(5)
    assert not bench.heartbeat.alive
    assert bench.heartbeat.stop(5)
    bench.heartbeat.start()
    assert bench.heartbeat.alive


def test_stop_says_so_when_a_request_hangs(bench: Bench) -> None:
    gate = Gate()
    bench.receive(1)
    bench.queue.script("extend", Fault(gate=gate))
    bench.heartbeat.start()
    bench.clock.settle()
    bench.clock.advance(VISIBILITY / 2)
    assert gate.entered.wait(5)
    assert not bench.heartbeat.stop(0.05)
    gate.leave.set()
    assert bench.heartbeat.stop(5)


def test_leases_do_not_ask_the_wall_clock(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It jumps: when it is set, and on home machines at any time."""
    monkeypatch.setattr(FakeClock, "time", lambda _: pytest.fail("the wall clock was asked"))
    monkeypatch.setattr("time.time", lambda: pytest.fail("the wall clock was asked"))
    leases = bench.receive(3)
    bench.heartbeat.start()
    bench.clock.run(3600)
    leases[0].fence()
    bench.table.snapshot()
    assert bench.table.take(leases[1])
    bench.table.release(leases[2:])
    assert bench.heartbeat.errors == 0
    assert len(bench.extends()) > 10


def test_a_late_beat_is_reported(bench: Bench) -> None:
    bench.receive(1)
    bench.heartbeat.start()
    bench.clock.settle()
    with capture_logs() as logs:
        bench.clock.advance(200)  # as when the process was starved
        bench.clock.settle()
    (late,) = [entry for entry in logs if entry["event"] == "heartbeat_late"]
    assert 80 <= late["seconds"] <= 110


def test_beats_in_time_are_not_reported_late(bench: Bench) -> None:
    bench.receive(12)
    bench.heartbeat.start()
    with capture_logs() as logs:
        bench.clock.run(3600)
    assert [entry for entry in logs if entry["event"] == "heartbeat_late"] == []


# -- outages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall", [120, 140])
@pytest.mark.parametrize("begin", [0, 60, 89, 95, 110, 119, 150, 200])
def test_an_outage_of_two_minutes_loses_no_lease(stall: float, begin: float) -> None:
    bench = build()
    leases = bench.receive(30)
    bench.heartbeat.start()
    bench.clock.run(begin)

    bench.queue.outage(stall)
    end = bench.clock.now() + stall + VISIBILITY
    while bench.clock.now() < end:
        bench.clock.run(5)
        assert bench.queue.visible == 0

    assert not bench.lost
    assert all(lease.state is LeaseState.HELD for lease in leases)
    bench.heartbeat.stop(5)


@pytest.mark.parametrize("stall", [120, 140])
def test_calls_that_all_take_two_minutes_lose_no_lease(stall: float) -> None:
    bench = build()
    leases = bench.receive(10)
    bench.queue.script("extend", Fault(delay=stall), times=20)
    bench.heartbeat.start()
    end = bench.clock.now() + 20 * stall
    while bench.clock.now() < end:
        bench.clock.run(10)
        assert bench.queue.visible == 0
    assert not bench.lost
    assert all(lease.confirmed for lease in leases)
    bench.clock.advance(stall)  # lets go of the request under way
    bench.heartbeat.stop(5)


def test_tries_grow_denser_as_the_end_comes_near(bench: Bench) -> None:
    bench.receive(1)
    tries: list[float] = []
    extend = bench.queue.extend

    def watched(messages: Sequence[tuple[Message, int]]) -> BatchResult:
        tries.append(bench.clock.now())
        return extend(messages)

    bench.heartbeat._queue.extend = watched  # type: ignore[method-assign]
    bench.queue.outage(1000)
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[0] >= 8
    assert gaps[-1] <= 2
    assert all(gap >= 1 for gap in gaps)


# -- lost, lapsed, fenced --------------------------------------------------------------------------------------------


def test_a_refused_renewal_cancels_the_work_and_nobody_elses(bench: Bench) -> None:
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


def test_the_fence_lets_pass_while_the_lease_is_confirmed(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    lease.fence(timeout=0)
    bench.clock.advance(VISIBILITY - 1)
    lease.fence(timeout=0)


def lapse(bench: Bench) -> Lease:
    """A lease whose renewals reached the queue but whose answers were lost, beyond what was confirmed."""
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(code="RequestTimeout", applied=True), times=1000)
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY + 20)
    assert lease.state is LeaseState.LAPSED
    assert lease.cancellation.reason is None, "work goes on"
    assert not bench.lost
    return lease


def test_the_fence_holds_writes_of_a_lapsed_lease_until_a_renewal_succeeds(bench: Bench) -> None:
    lease = lapse(bench)
    thread, outcome = in_thread(lambda: lease.fence(timeout=500))
    bench.clock.settle(2)
    assert not outcome

    bench.queue._faults.clear()
    bench.clock.run(10)

    thread.join(5)
    assert outcome == [None]
    assert lease.state is LeaseState.HELD


def test_the_fence_gives_up_when_the_renewal_is_refused(bench: Bench) -> None:
    lease = lapse(bench)
    thread, outcome = in_thread(lambda: lease.fence(timeout=500))
    bench.clock.settle(2)

    bench.queue._faults.clear()
    bench.queue.script("extend", Fault(code="AWS.SimpleQueueService.MessageNotInflight", entries=frozenset({0})))
    bench.clock.run(10)

    thread.join(5)
    assert isinstance(outcome[0], Cancelled)
    assert outcome[0].reason is CancelReason.LEASE_LOST


def test_the_fence_gives_up_when_the_work_is_called_off(bench: Bench) -> None:
    lease = lapse(bench)
    thread, outcome = in_thread(lambda: lease.fence(timeout=500))
    bench.clock.settle(2)
    lease.cancellation.cancel(CancelReason.SHUTDOWN)
    thread.join(5)
    assert isinstance(outcome[0], Cancelled)
    assert outcome[0].reason is CancelReason.SHUTDOWN


def test_the_fence_raises_a_fault_of_the_node_when_nothing_is_heard(bench: Bench) -> None:
    lease = lapse(bench)
    thread, outcome = in_thread(lambda: lease.fence(timeout=30))
    bench.clock.settle(2)
    bench.clock.run(31)
    thread.join(5)
    assert isinstance(outcome[0], NodeFaultError)
    assert lease.message.id in str(outcome[0])


def test_the_fence_stands_before_a_taken_lease(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    assert bench.table.take(lease)
    with pytest.raises(Cancelled):
        lease.fence()


def test_confirmed_until_counts_from_before_the_request(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(delay=20))
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY / 2 + 20)
    (at,) = [at for at, _, _ in bench.extends()]
    assert lease.confirmed_until == pytest.approx(at - 20 + VISIBILITY)


def test_a_message_that_came_back_goes_on_under_the_lease_that_lapsed(bench: Bench) -> None:
    # Given an outage that outlasts the lease
    (lease,) = bench.receive(1)
    bench.queue.outage(VISIBILITY + 50)
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY + 10)
    assert not lease.confirmed
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


def test_the_answer_to_an_outdated_receipt_does_not_lose_the_lease(bench: Bench) -> None:
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


# -- the ceiling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visibility", [30, 300, 7200, 43_200])
def test_nothing_beyond_twelve_hours_is_asked_for(visibility: int) -> None:
    bench = build(visibility)
    bench.heartbeat = Heartbeat(bench.table, bench.queue, bench.clock, longest_pause=1000)
    (lease,) = bench.receive(1)
    received_at = lease.message.received_at
    bench.heartbeat.start()

    bench.clock.run(CEILING + 60)

    assert bench.renewals[RenewalOutcome.FAILED] == bench.renewals[RenewalOutcome.REFUSED] == 0
    assert all(at + seconds[0] <= received_at + CEILING - 30 for at, _, seconds in bench.extends())
    assert bench.ending == [lease]
    assert lease.state is LeaseState.LOST
    assert len(bench.lost) == 1
    bench.heartbeat.stop(5)


def test_the_end_is_told_while_there_is_time_to_act(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    bench.heartbeat.start()
    while not bench.ending:
        bench.clock.run(100)
    assert lease.state is LeaseState.ENDING
    assert lease.confirmed_until - bench.clock.now() > 60
    lease.fence(timeout=0)
    calls = len(bench.extends())
    bench.clock.run(60)
    assert len(bench.extends()) == calls, "nothing is left to ask for"
    assert bench.table.take(lease)


def test_an_answer_that_says_too_much_was_asked_for_ends_the_lease_without_losing_it(bench: Bench) -> None:
    # Given a queue that counts the 12 h from another moment
    (lease,) = bench.receive(1)
    message = "Value 300 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is"
    message += " beyond the limit [43200 seconds]"
    bench.queue.script("extend", Fault(code="InvalidParameterValue", message=message, entries=frozenset({0})))
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY / 2)
    assert lease.state is LeaseState.ENDING
    assert bench.ending == [lease]
    bench.clock.run(100)
    assert len(bench.extends()) == 1, "it does not loop on the error"
    assert lease.cancellation.reason is None
    bench.clock.run(VISIBILITY)
    assert lease.cancellation.reason is CancelReason.LEASE_LOST


# -- take, release ---------------------------------------------------------------------------------------------------


def test_a_renewal_under_way_lands_before_the_release_never_after(bench: Bench) -> None:
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


def test_a_lease_refused_while_it_is_being_taken_is_lost(bench: Bench) -> None:
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


def test_taking_does_not_wait_for_a_hanging_request_for_ever(bench: Bench) -> None:
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


def test_a_shutdown_may_wait_for_less(bench: Bench) -> None:
    gate = Gate()
    bench.receive(1)
    bench.queue.script("extend", Fault(gate=gate))
    bench.heartbeat.start()
    bench.clock.settle()
    bench.clock.advance(VISIBILITY / 2)
    assert gate.entered.wait(5)
    assert bench.table.release_all(timeout=0).done
    gate.leave.set()


def test_only_one_of_many_gets_a_lease(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    results = [in_thread(lambda: bench.table.take(lease)) for _ in range(8)]
    for thread, _ in results:
        thread.join(5)
    assert sorted(outcome[0] for _, outcome in results) == [False] * 7 + [True]  # type: ignore[type-var]


def test_release_gives_back_the_last_received_first(bench: Bench) -> None:
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


def test_a_release_that_fails_is_logged_and_the_rest_goes_through(bench: Bench) -> None:
    leases = bench.receive(3)
    bench.queue.script("release", Fault(code="InternalError", entries=frozenset({1})))
    with capture_logs() as logs:
        result = bench.table.release(leases)
    assert set(result.failed) == {leases[1].message.id}
    assert [entry["message"] for entry in logs if entry["event"] == "release_failed"] == [leases[1].message.id]
    assert bench.queue.visible == 2
    assert bench.table.count == 0


def test_release_all_empties_the_table(bench: Bench) -> None:
    bench.receive(11)
    assert not bench.table.wait_idle(0)
    bench.table.release_all()
    assert bench.table.count == 0
    assert bench.table.wait_idle(0)
    assert bench.queue.visible == 11
    assert bench.table.release_all() == BatchResult()


def test_a_restored_lease_is_renewed_again(bench: Bench) -> None:
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


def test_a_lost_lease_cannot_be_restored(bench: Bench) -> None:
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(code="ReceiptHandleIsInvalid", entries=frozenset({0})))
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY / 2)
    bench.table.restore(lease)
    assert bench.table.count == 0


def test_snapshot_shows_the_most_urgent_first(bench: Bench) -> None:
    bench.receive(1)
    bench.clock.advance(100)
    bench.queue.send(None, Outgoing("second"))
    bench.table.add(bench.queue.receive(1, 0))
    first, second = bench.table.snapshot()
    assert (first.left, second.left) == (200, 300)
    assert first.state is LeaseState.HELD
    bench.clock.advance(250)
    assert [row.state for row in bench.table.snapshot()] == [LeaseState.LAPSED, LeaseState.HELD]


def test_a_listener_that_fails_at_the_end_leaves_the_other_leases_alone() -> None:
    # Given a lease whose first visibility timeout is all of the 12 h, so that nothing can be asked for
    bench = build(CEILING)

    def broken(_lease: Lease) -> None:
        raise ZeroDivisionError

    bench.table._on_ending = broken
    bench.receive(2)
    bench.heartbeat = Heartbeat(bench.table, bench.queue, bench.clock, longest_pause=1000)
    bench.heartbeat.start()
    with capture_logs():
        bench.clock.run(CEILING / 2)
    assert bench.heartbeat.errors == 1
    assert [row.state for row in bench.table.snapshot()] == [LeaseState.ENDING] * 2
    assert not any(lease.record.in_flight for lease in bench.table._leases.values())
    bench.heartbeat.stop(5)


def test_an_outage_until_the_ceiling_never_asks_for_zero_seconds() -> None:
    # Given a lease that lapses in the last minutes of its 12 h
    bench = build()
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
