# SPDX-License-Identifier: Apache-2.0
"""The lease table and its heartbeat through whatever sequence of events hypothesis thinks of.

A queue in fake time has the messages, and a rival receives whatever becomes visible. A request of the heartbeat is made
in one step, or in three between which other things happen: it is sent, it arrives, its answer arrives.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from structlog.testing import capture_logs

from sqscribe.errors import Cancelled, CancelReason, NodeFaultError
from worker.leases import Heartbeat, Lease, LeaseState, LeaseTable, Renewal
from worker.queues import BatchResult, Message, Outgoing
from worker.testing.clock import PassingClock
from worker.testing.queue import FakeQueue, Fault

CEILING = 43_200
MARGIN = 30
TAKE_TIMEOUT = 20.0
MOST_MESSAGES = 25

HOLDING = {LeaseState.HELD, LeaseState.ENDING}

BEYOND = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"
PLACES = st.frozensets(st.integers(0, 9), min_size=1, max_size=4)
FAULTS = st.one_of(
    st.just(Fault()),  # none
    st.builds(Fault, delay=st.sampled_from([1.0, 19.0, 400.0])),
    st.builds(Fault, code=st.just("InternalError"), entries=st.one_of(st.none(), PLACES), applied=st.booleans()),
    st.builds(Fault, code=st.just("ReceiptHandleIsInvalid"), entries=PLACES),
)
RENEWAL_FAULTS = st.one_of(
    FAULTS,
    st.builds(Fault, code=st.just("InvalidParameterValue"), message=st.just(BEYOND), entries=PLACES),
    st.just(Fault(raises=RuntimeError("a bug in the client"))),
)
#: Seconds after which a request under way lands, should somebody wait for it; none: it hangs.
LAGS = st.sampled_from([0.5, 19.0, 25.0, math.inf])


class WatchedQueue(FakeQueue):
    """Notes what no renewal may name any more.

    Attributes:
        let_go: Receipts of messages that were given back or are being deleted.
        refused: Receipts that it refused to renew, or to renew for so long.
        newest: The receipt of each message's latest receive, by message id.
    """

    def __init__(self, clock: PassingClock, *, visibility_timeout: int) -> None:
        super().__init__(clock, visibility_timeout=visibility_timeout)
        self.let_go: set[str] = set()
        self.refused: set[str] = set()
        self.newest: dict[str, str] = {}

    def receive(self, limit: int, wait: float) -> list[Message]:
        try:
            messages = super().receive(limit, wait)
        except NodeFaultError:  # an outage
            return []
        self.newest |= {message.id: message.receipt for message in messages}
        return messages

    def extend(self, messages: Sequence[tuple[Message, int]]) -> BatchResult:
        assert not self.let_go & {message.receipt for message, _ in messages}, "renewed after it was let go"
        result = super().extend(messages)
        self.refused |= {each.receipt for each, _ in messages if each.id in {*result.refused, *result.beyond}}
        return result

    def recover(self) -> None:
        """Nothing goes wrong from here on."""
        self._faults.clear()
        self._outage_until = -math.inf


class WatchedTable(LeaseTable):
    """Looks at every request that is made of it."""

    def begin_renewals(self) -> list[Renewal]:
        renewals = super().begin_renewals()
        assert len(renewals) <= 10
        assert len({renewal.message.id for renewal in renewals}) == len(renewals)
        for renewal in renewals:
            assert 1 <= renewal.seconds <= self._visibility_timeout
            assert self._clock.now() + renewal.seconds <= renewal.message.received_at + CEILING - MARGIN
        return renewals


@dataclass
class Flight:
    """A request for renewals under way; `result` is what the queue answered, once it has arrived there."""

    renewals: list[Renewal]
    sent_at: float
    result: BatchResult | None = None


class LeaseMachine(RuleBasedStateMachine):
    leases: Bundle[Lease] = Bundle("leases")
    taken: Bundle[Lease] = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.open.enter_context(capture_logs())  # thousands of lines

    def teardown(self) -> None:
        self.open.close()

    @initialize(
        target=leases,
        visibility=st.sampled_from([10, 300, 3600]),
        seed=st.integers(0, 99),
        count=st.sampled_from([1, 3, 12]),
    )
    def begin(self, visibility: int, seed: int, count: int) -> MultipleResults[Lease] | Lease:
        self.visibility = visibility
        self.clock = PassingClock()
        self.clock.meanwhile = self.meanwhile
        self.queue = WatchedQueue(self.clock, visibility_timeout=visibility)
        self.lost: list[None] = []
        self.ending: list[Lease] = []
        self.table = WatchedTable(
            self.queue,
            self.clock,
            visibility_timeout=visibility,
            take_timeout=TAKE_TIMEOUT,
            on_lost=lambda: self.lost.append(None),
            on_ending=self.ending.append,
            rng=random.Random(seed),
        )
        self.heartbeat = Heartbeat(self.table, self.queue, self.clock)
        self.known: list[Lease] = []
        self.hand: list[Message] = []  # received, and not yet in the table
        self.rivals: dict[str, Message] = {}
        self.flight: Flight | None = None
        self.lands_at = math.inf
        self.send(count)
        self.hand = self.queue.receive(10, 0) + self.queue.receive(10, 0)
        return self.add()

    # -- messages come -------------------------------------------------------------------------------------------------

    @rule(count=st.sampled_from([1, 3, 12]))
    def send(self, count: int) -> None:
        for _ in range(min(count, MOST_MESSAGES - len(self.queue))):
            with suppress(NodeFaultError):  # an outage
                self.queue.send(None, Outgoing("body"))

    @precondition(lambda self: not self.hand)
    @rule(limit=st.integers(1, 10))
    def receive(self, limit: int) -> None:
        self.hand = self.queue.receive(limit, 0)

    @rule(target=leases)
    def add(self) -> MultipleResults[Lease] | Lease:
        held = {lease.message.id for lease in self.known if lease.record.state in HOLDING}
        fresh = self.table.add(self.hand)
        assert {lease.message.id for lease in fresh} == {message.id for message in self.hand} - held
        self.hand = []
        self.known += fresh
        return multiple(*fresh)

    @rule(target=leases)
    def receive_and_add(self) -> MultipleResults[Lease] | Lease:
        self.hand = self.hand or self.queue.receive(10, 0)
        return self.add()

    @rule()
    def a_rival_receives(self) -> None:
        self.rivals |= {message.id: message for message in self.queue.receive(10, 0)}

    @precondition(lambda self: self.rivals)
    @rule(data=st.data(), deletes=st.booleans())
    def the_rival_lets_go(self, data: st.DataObject, deletes: bool) -> None:
        message = self.rivals.pop(data.draw(st.sampled_from(sorted(self.rivals))))
        (self.queue.delete if deletes else self.queue.release)([message])

    # -- time passes ---------------------------------------------------------------------------------------------------

    @rule(share=st.sampled_from([0.01, 0.3, 0.35, 0.5, 0.9, 1.0, 1.1]))
    def time_passes(self, share: float) -> None:
        self.clock.advance(share * self.visibility)

    @rule(seconds=st.sampled_from([100.0, CEILING - 60.0, CEILING - 20.0, CEILING]))
    def much_time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(share=st.sampled_from([0.1, 0.9, 1.5]))
    def an_outage(self, share: float) -> None:
        self.queue.outage(share * self.visibility)

    # -- the heartbeat -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.flight is None)
    @rule(in_time=st.booleans(), faults=st.lists(RENEWAL_FAULTS, max_size=2))
    def beat(self, in_time: bool, faults: list[Fault]) -> None:
        self.until_one_is_due(in_time)
        self.queue.script("extend", *faults)
        with survived():
            self.rounds()

    def until_one_is_due(self, in_time: bool) -> None:
        if in_time and self.table.count:
            self.clock.advance(self.table.seconds_until_due())

    def rounds(self) -> None:
        """As the heartbeat's loop: rounds until it may rest. Ten leases at a time may end instead of being renewed."""
        for _ in range(2 + MOST_MESSAGES // 10):
            self.heartbeat._beat()
            if self.table.seconds_until_due() > 0:
                return
        raise AssertionError("it would never rest")

    @precondition(lambda self: self.flight is None)
    @rule(in_time=st.booleans(), fault=RENEWAL_FAULTS)
    def a_request_is_sent(self, in_time: bool, fault: Fault) -> None:
        self.until_one_is_due(in_time)
        renewals, now = self.table.begin_renewals(), self.clock.now()
        if renewals:
            self.flight = Flight(renewals, now)
            self.queue.script("extend", fault)

    @precondition(lambda self: self.flight is not None and self.flight.result is None)
    @rule()
    def it_arrives(self) -> None:
        assert self.flight is not None
        flight, self.flight = self.flight, None  # its own stall does not wait for it
        with survived():
            flight.result = self.queue.extend([(renewal.message, renewal.seconds) for renewal in flight.renewals])
        self.flight = flight

    @precondition(lambda self: self.flight is not None)
    @rule()
    def its_answer_arrives_or_never_will(self) -> None:
        assert self.flight is not None
        flight, self.flight, self.lands_at = self.flight, None, math.inf
        self.table.end_renewals(flight.renewals, flight.sent_at, flight.result or BatchResult())

    def meanwhile(self) -> float:
        """What the heartbeat's thread does while another one waits: its request lands."""
        if self.flight and self.clock.now() >= self.lands_at:
            if self.flight.result is None:
                self.it_arrives()
            self.its_answer_arrives_or_never_will()
        return self.lands_at - self.clock.now() if self.flight else math.inf

    @precondition(lambda self: self.flight is None)
    @rule(share=st.one_of(st.floats(0.001, 0.1), st.floats(0.98, 1.01)))
    def nothing_goes_wrong_for_a_while(self, share: float) -> None:
        self.queue.recover()
        confirmed = [lease for lease in self.known if lease.confirmed]
        end = self.clock.now() + 10 + share * min(CEILING, 20 * self.visibility)
        while (left := end - self.clock.now()) > 0:
            self.rounds()
            self.clock.advance(min(left, self.table.seconds_until_due()))
        self.rounds()
        # Then no lease is lost without a reason, and none is in doubt any more
        assert all(lease.confirmed or self.may_end(lease) for lease in confirmed)
        assert not any(lease.state is LeaseState.LAPSED for lease in self.known)

    # -- leases are given up -------------------------------------------------------------------------------------------

    @rule(lease=leases, lag=LAGS, timeout=st.sampled_from([0.0, 30.0]))
    def fence(self, lease: Lease, lag: float, timeout: float) -> None:
        self.lands_at = self.clock.now() + lag
        try:
            lease.fence(timeout)
        except Cancelled:
            assert lease.state in {LeaseState.LOST, LeaseState.TAKEN}
        except NodeFaultError:
            assert lease.state is LeaseState.LAPSED
        else:
            assert lease.confirmed

    @rule(target=taken, lease=leases, lag=LAGS)
    def take(self, lease: Lease, lag: float) -> MultipleResults[Lease] | Lease:
        with self.let_go([lease], lag, TAKE_TIMEOUT):
            mine = self.table.take(lease)
        assert mine == (lease.record.state is LeaseState.TAKEN) or not mine
        return multiple(lease) if mine else multiple()

    @rule(lease=consumes(taken), fault=FAULTS)
    def delete(self, lease: Lease, fault: Fault) -> None:
        self.queue.script("delete", fault)
        result = self.queue.delete([lease.message])
        if lease.message.id not in {*result.done, *result.refused}:
            self.queue.let_go.discard(lease.message.receipt)
            self.table.restore(lease)

    @rule(
        lease=leases,
        company=st.integers(0, 11),
        delay=st.sampled_from([0, 60]),
        timeout=st.sampled_from([None, 0.0, 5.0]),
        lag=LAGS,
        fault=FAULTS,
    )
    def release(self, lease: Lease, company: int, delay: int, timeout: float | None, lag: float, fault: Fault) -> None:
        given_up = list({id(each): each for each in (lease, *self.known[:company])}.values())
        self.queue.script("release", fault)
        with self.let_go(given_up, lag, TAKE_TIMEOUT if timeout is None else timeout):
            result = self.table.release(given_up, delay, timeout)
        for message_id in result.done:
            assert self.queue.visible_at(message_id) <= self.clock.now() + delay

    @rule(timeout=st.sampled_from([None, 0.0]), lag=LAGS)
    def release_all(self, timeout: float | None, lag: float) -> None:
        with self.let_go(self.known, lag, TAKE_TIMEOUT if timeout is None else timeout):
            self.table.release_all(timeout)
        assert self.table.count == 0

    @contextmanager
    def let_go(self, given_up: Sequence[Lease], lag: float, timeout: float) -> Iterator[None]:
        """From the end of it on, no renewal of these leases may land; but for one that nobody could wait for."""
        held = [lease for lease in given_up if lease.record.state in HOLDING]
        began = self.clock.now()
        self.lands_at = began + lag
        yield
        for lease in held:
            assert lease.record.state in {LeaseState.TAKEN, LeaseState.LOST}
            if lease.record.in_flight:
                assert self.clock.now() >= began + timeout, "it did not wait for the renewal under way"
            else:
                self.queue.let_go.add(lease.message.receipt)

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def a_confirmed_lease_is_this_workers_alone(self) -> None:
        for lease in self.known:
            if not lease.confirmed:
                continue
            assert self.queue.newest[lease.message.id] == lease.message.receipt, "somebody else has received it"
            assert lease.confirmed_until <= self.hidden_until(lease.message.id)

    def hidden_until(self, message_id: str) -> float:
        try:
            return self.queue.visible_at(message_id)
        except KeyError:  # deleted, and the answer was lost
            return math.inf

    @invariant()
    def a_lost_lease_is_told_once_and_no_other_is(self) -> None:
        lost = [lease for lease in self.known if lease.record.state is LeaseState.LOST]
        assert len(self.lost) == len(lost)
        for lease in self.known:
            reason = CancelReason.LEASE_LOST if lease in lost else None
            assert lease.cancellation.reason is reason
            assert lease.cancellation.event.is_set() == (reason is not None)
            assert lease.record.state is not LeaseState.ENDING or lease in self.ending
        assert all(self.may_end(lease) for lease in lost)

    def may_end(self, lease: Lease) -> bool:
        """Whether the queue refused its newest receipt, or its 12 h are over."""
        left = lease.message.received_at + CEILING - MARGIN - self.clock.now()
        return lease.message.receipt in self.queue.refused or left <= self.visibility

    @invariant()
    def the_table_holds_what_is_held_and_nothing_else(self) -> None:
        held = [lease for lease in self.known if lease.record.state in HOLDING]
        assert self.table.count == len(held)
        assert self.table.wait_idle(0) == (not held)
        rows = self.table.snapshot()
        assert sorted(row.message_id for row in rows) == sorted(lease.message.id for lease in held)
        assert [row.left for row in rows] == sorted(row.left for row in rows)

    @invariant()
    def no_lease_is_due_and_forgotten(self) -> None:
        due = self.table.seconds_until_due()
        assert due <= self.visibility if self.table.count else due == math.inf


@contextmanager
def survived() -> Iterator[None]:
    """As the heartbeat's loop survives a bug in the client."""
    try:
        yield
    except RuntimeError as error:
        assert str(error) == "a bug in the client"  # noqa: PT017 - of whichever request met it


TestLeases = LeaseMachine.TestCase
TestLeases.settings = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,  # how long an example takes says something about the machine's load
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
