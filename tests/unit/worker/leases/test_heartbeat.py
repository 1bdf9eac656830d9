# SPDX-License-Identifier: Apache-2.0
"""When the heartbeat renews leases: in time, through outages, and up to the ceiling."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import CancelReason
from worker.leases import Heartbeat, LeaseState, RenewalOutcome
from worker.queues import BatchResult, Message, Outgoing
from worker.testing.clock import FakeClock
from worker.testing.leases import VISIBILITY, LeaseBench
from worker.testing.queue import Fault, Gate

CEILING = 43_200
#: The states in which a message is surely this worker's.
CONFIRMED = {LeaseState.HELD, LeaseState.ENDING}


def ending(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Messages of the leases that were reported to end."""
    return [entry["message"] for entry in logs if entry["event"] == "lease_ending"]


@pytest.fixture
def bench() -> Iterator[LeaseBench]:
    built = LeaseBench()
    yield built
    built.heartbeat.stop(5)


# -- heartbeat ---------------------------------------------------------------------------------------------------------


def test_messages_stay_hidden_for_hours_in_requests_of_ten_at_most(bench: LeaseBench) -> None:
    leases = bench.receive(25)
    bench.heartbeat.start()

    bench.clock.run(3 * 3600)

    assert bench.queue.visible == 0
    assert all(lease.state in CONFIRMED for lease in leases)
    assert not bench.lost
    assert set(bench.renewals) == {RenewalOutcome.RENEWED}
    assert max(len(ids) for _, ids, _ in bench.extends()) == 10
    # 25 leases need three requests a round, and a round at least every 90 s.
    assert len(bench.extends()) <= 3 * (3 * 3600 / 80)


def test_every_renewal_comes_before_half_of_the_timeout_and_not_in_step(bench: LeaseBench) -> None:
    leases = bench.receive(3)
    bench.heartbeat.start()

    bench.clock.run(3600)

    for lease in leases:
        times = [at for at, ids, _ in bench.extends() if lease.message.id in ids]
        gaps = [later - earlier for earlier, later in itertools.pairwise([lease.message.received_at, *times])]
        assert max(gaps) <= VISIBILITY / 2
        assert min(gaps) >= VISIBILITY * 0.2
        assert len({round(gap, 3) for gap in gaps}) > 10, "no jitter"


def test_a_lease_that_comes_in_is_renewed_though_the_heartbeat_was_at_rest(bench: LeaseBench) -> None:
    bench.heartbeat.start()
    bench.clock.settle()
    bench.receive(1)
    bench.clock.run(VISIBILITY / 2)
    assert len(bench.extends()) == 1


def test_a_message_that_waited_in_a_long_poll_is_renewed_at_once() -> None:
    # Given a poll that took longer than the lease that it asked for
    bench = LeaseBench(visibility=10)
    bench.queue.send(None, Outgoing("late"))
    (message,) = bench.queue.receive(1, 0)
    bench.clock.advance(9)
    bench.table.add([message])
    bench.heartbeat.start()
    bench.clock.settle()
    assert [seconds for _, _, seconds in bench.extends()] == [(10,)]
    bench.heartbeat.stop(5)


def test_nothing_kills_the_heartbeat(bench: LeaseBench) -> None:
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
    bench = LeaseBench()
    leases = bench.receive(1)

    def broken(_outcome: RenewalOutcome, _count: int) -> None:
        raise ValueError("a bug in the metrics")

    bench.table._on_renewals = broken
    bench.heartbeat.start()
    with capture_logs():  # tracebacks are slow to print
        bench.clock.run(3600)
    assert bench.heartbeat.alive
    assert bench.heartbeat.errors > 10
    assert leases[0].state in CONFIRMED
    bench.heartbeat.stop(5)


def test_start_raises_while_it_runs_and_works_again_after_a_stop(bench: LeaseBench) -> None:
    bench.heartbeat.start()
    with pytest.raises(RuntimeError, match="already running"):
        bench.heartbeat.start()
    assert bench.heartbeat.stop(5)
    assert not bench.heartbeat.alive
    assert bench.heartbeat.stop(5)
    bench.heartbeat.start()
    assert bench.heartbeat.alive


def test_stop_says_so_when_a_request_hangs(bench: LeaseBench) -> None:
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


def test_leases_do_not_ask_the_wall_clock(bench: LeaseBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It jumps: when it is set, and on home machines at any time."""
    monkeypatch.setattr(FakeClock, "time", lambda _: pytest.fail("the wall clock was asked"))
    monkeypatch.setattr("time.time", lambda: pytest.fail("the wall clock was asked"))
    leases = bench.receive(3)
    bench.heartbeat.start()
    bench.clock.run(3600)
    leases[0].fence()
    assert bench.table.count == 3
    assert bench.table.take(leases[1])
    bench.table.release(leases[2:])
    assert bench.heartbeat.errors == 0
    assert len(bench.extends()) > 10


def test_a_late_beat_is_reported(bench: LeaseBench) -> None:
    bench.receive(1)
    bench.heartbeat.start()
    bench.clock.settle()
    with capture_logs() as logs:
        bench.clock.advance(200)  # as when the process was starved
        bench.clock.settle()
    (late,) = [entry for entry in logs if entry["event"] == "heartbeat_late"]
    assert 80 <= late["seconds"] <= 110


def test_beats_in_time_are_not_reported_late(bench: LeaseBench) -> None:
    bench.receive(12)
    bench.heartbeat.start()
    with capture_logs() as logs:
        bench.clock.run(3600)
    assert [entry for entry in logs if entry["event"] == "heartbeat_late"] == []


# -- outages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall", [120, 140])
@pytest.mark.parametrize("begin", [0, 60, 89, 95, 110, 119, 150, 200])
def test_an_outage_of_two_minutes_loses_no_lease(stall: float, begin: float) -> None:
    bench = LeaseBench()
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
    bench = LeaseBench()
    leases = bench.receive(10)
    bench.queue.script("extend", Fault(delay=stall), times=20)
    bench.heartbeat.start()
    end = bench.clock.now() + 20 * stall
    while bench.clock.now() < end:
        bench.clock.run(10)
        assert bench.queue.visible == 0
    assert not bench.lost
    assert all(lease.state in CONFIRMED for lease in leases)
    bench.clock.advance(stall)  # lets go of the request under way
    bench.heartbeat.stop(5)


def test_tries_grow_denser_as_the_end_comes_near(bench: LeaseBench) -> None:
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


# -- the ceiling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visibility", [30, 300, 7200, 43_200])
def test_nothing_beyond_twelve_hours_is_asked_for(visibility: int) -> None:
    bench = LeaseBench(visibility)
    bench.heartbeat = Heartbeat(bench.table, bench.queue, bench.clock, longest_pause=1000)
    (lease,) = bench.receive(1)
    received_at = lease.message.received_at
    bench.heartbeat.start()

    with capture_logs() as logs:
        bench.clock.run(CEILING + 60)

    assert bench.renewals[RenewalOutcome.FAILED] == bench.renewals[RenewalOutcome.REFUSED] == 0
    assert all(at + seconds[0] <= received_at + CEILING - 30 for at, _, seconds in bench.extends())
    assert ending(logs) == [lease.message.id]
    assert lease.state is LeaseState.LOST
    assert len(bench.lost) == 1
    bench.heartbeat.stop(5)


def test_the_end_is_told_while_there_is_time_to_act(bench: LeaseBench) -> None:
    (lease,) = bench.receive(1)
    bench.heartbeat.start()
    with capture_logs() as logs:
        while not ending(logs):
            bench.clock.run(100)
    assert lease.state is LeaseState.ENDING
    assert lease.confirmed_until - bench.clock.now() > 60
    lease.fence(timeout=0)
    calls = len(bench.extends())
    bench.clock.run(60)
    assert len(bench.extends()) == calls, "nothing is left to ask for"
    assert bench.table.take(lease)


def test_an_answer_that_says_too_much_was_asked_for_ends_the_lease_without_losing_it(bench: LeaseBench) -> None:
    # Given a queue that counts the 12 h from another moment
    (lease,) = bench.receive(1)
    message = "Value 300 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is"
    message += " beyond the limit [43200 seconds]"
    bench.queue.script("extend", Fault(code="InvalidParameterValue", message=message, entries=frozenset({0})))
    bench.heartbeat.start()
    with capture_logs() as logs:
        bench.clock.run(VISIBILITY / 2)
    assert lease.state is LeaseState.ENDING
    assert ending(logs) == [lease.message.id]
    bench.clock.run(100)
    assert len(bench.extends()) == 1, "it does not loop on the error"
    assert lease.cancellation.reason is None
    bench.clock.run(VISIBILITY)
    assert lease.cancellation.reason is CancelReason.LEASE_LOST


def test_what_keeps_every_renewal_from_being_answered_is_told_until_one_is(bench: LeaseBench) -> None:
    told: list[str | None] = []
    bench.heartbeat = Heartbeat(bench.table, bench.queue, bench.clock, on_trouble=told.append)
    bench.receive(2)
    bench.heartbeat.start()
    # Given a permission that is withdrawn
    bench.queue.script("extend", Fault(code="AccessDenied", message="no"), times=2)
    bench.clock.run(VISIBILITY)
    assert told[:2] == ["AccessDenied: no", "AccessDenied: no"]
    # Then its return is told as well
    assert told[2] is None
    # And one message that is refused by itself is nobody else's trouble
    bench.queue.script("extend", Fault(code="InternalError", message="no", entries=frozenset({0})))
    bench.clock.run(VISIBILITY)
    assert set(told[2:]) == {None}


def test_a_trouble_ends_with_the_last_lease(bench: LeaseBench) -> None:
    told: list[str | None] = []
    bench.heartbeat = Heartbeat(bench.table, bench.queue, bench.clock, on_trouble=told.append)
    (lease,) = bench.receive(1)
    bench.queue.script("extend", Fault(code="AccessDenied", message="no"), times=99)
    bench.heartbeat.start()
    bench.clock.run(VISIBILITY / 2)
    assert told[-1] == "AccessDenied: no"
    bench.table.release([lease])
    bench.clock.run(20)
    assert told[-1] is None
