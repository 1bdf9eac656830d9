# SPDX-License-Identifier: Apache-2.0
"""The lease table: every message that this worker holds, and when it is renewed."""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from sqscribe.errors import CancelReason
from stages.ports import Clock
from worker.leases.lease import Lease, LeaseRecord, LeaseState, RenewalOutcome
from worker.queues import BatchResult, Message, Queue

__all__ = ["LeaseSnapshot", "LeaseTable", "Renewal"]

log = structlog.get_logger()

#: SQS keeps a message hidden for at most so many seconds after the receive; extending never resets it.
CEILING_SECONDS = 43_200.0
#: The last so many seconds of it are not asked for: asking for more than is left is an error, and clocks differ.
CEILING_MARGIN_SECONDS = 30.0
#: Most messages of one request (an SQS limit).
BATCH = 10
#: When a lease is renewed, as fractions of the visibility timeout; drawn anew each time, so that workers do not beat in
#: step. The later one leaves 180 of 300 s to outlast an outage in.
RENEW_FRACTIONS = (0.3, 0.4)
#: A lease that is due within this fraction of the visibility timeout shares the request of one that is due now.
COMPANY_FRACTION = 0.1
#: After a renewal that failed, fractions of what is left: tries grow denser as the end comes near.
RETRY_FRACTIONS = (0.05, 0.1)
#: A beat that comes later than this fraction of the visibility timeout is reported.
LATE_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class Renewal:
    """One message of a request that renews leases.

    Attributes:
        message: As it is when the request is made; the lease may have a newer receipt before the answer is there.
        seconds: Asked for, whole as SQS wants them.
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


@dataclass(frozen=True, slots=True)
class LeaseSnapshot:
    """A lease at one moment, for `/status`; `left` is what is confirmed in seconds, at most 0 when it has lapsed."""

    message_id: str
    state: LeaseState
    left: float
    receive_count: int


class LeaseTable:
    """Holds every message from its receive until it is taken or lost. Thread-safe.

    The heartbeat renews what is in the table and nothing else. A lease is taken out, under the lock, before its message
    is released or deleted, and taking waits for a renewal that is under way: one that landed after a release would hide
    the message again.

    Args:
        queue: Releases messages.
        clock: Time.
        visibility_timeout: Seconds that a receive, and each renewal, hides a message for.
        ceiling: Seconds after the receive for which the queue hides a message at most.
        margin: The last so many seconds of the ceiling are not asked for.
        shortest_retry: Fewest seconds between two tries to renew a lease.
        lapsed_retry: Seconds between two tries once it has lapsed.
        take_timeout: Most seconds that `take` waits for a renewal under way; longer than the heartbeat's request takes
            with all its attempts.
        on_renewals: Told what the queue said to how many renewals. None of these three may block.
        on_lost: Told of every lost lease.
        on_ending: Told of a lease that nothing is left of the 12 h for but what is confirmed.
        rng: Draws the jitter.
    """

    def __init__(
        self,
        queue: Queue,
        clock: Clock,
        *,
        visibility_timeout: int,
        ceiling: float = CEILING_SECONDS,
        margin: float = CEILING_MARGIN_SECONDS,
        shortest_retry: float = 1.0,
        lapsed_retry: float = 5.0,
        take_timeout: float = 20.0,
        on_renewals: Callable[[RenewalOutcome, int], None] = lambda _outcome, _count: None,
        on_lost: Callable[[], None] = lambda: None,
        on_ending: Callable[[Lease], None] = lambda _lease: None,
        rng: random.Random | None = None,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._visibility_timeout = visibility_timeout
        self._lifetime = ceiling - margin
        self._shortest_retry = shortest_retry
        self._lapsed_retry = lapsed_retry
        self._take_timeout = take_timeout
        self._on_renewals = on_renewals
        self._on_lost = on_lost
        self._on_ending = on_ending
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._lock = threading.RLock()  # guards _leases, _idle and the record of every lease
        self._leases: dict[str, Lease] = {}
        self._idle = threading.Event()
        self._idle.set()
        #: Set when a lease comes in: the heartbeat may have to beat earlier than it thought.
        self.changed = threading.Event()

    @property
    def count(self) -> int:
        """How many messages are held."""
        return len(self._leases)

    def snapshot(self) -> list[LeaseSnapshot]:
        """Every lease, the one that runs out first coming first."""
        now = self._clock.now()
        with self._lock:
            leases = sorted(self._leases.values(), key=lambda lease: lease.confirmed_until)
            return [
                LeaseSnapshot(lease.message.id, lease.state, lease.confirmed_until - now, lease.message.receive_count)
                for lease in leases
            ]

    def wait_idle(self, timeout: float) -> bool:
        """Waits until no lease is held; False when some still are after `timeout` seconds."""
        return self._clock.wait(self._idle, timeout)

    # -- for those who receive, release and delete -----------------------------------------------------------------

    def add(self, messages: Iterable[Message]) -> list[Lease]:
        """Holds messages that were just received.

        A message that is held already came back because its lease had lapsed: that lease, and the work on it, goes on
        with the new receipt.

        Returns:
            The leases that are new; not the ones that go on.
        """
        fresh: list[Lease] = []
        with self._lock:
            for message in messages:
                lease = self._leases.get(message.id)
                if lease is None:
                    lease = Lease(LeaseRecord(message), self._lock, self._clock)
                    fresh.append(lease)
                    self._hold(lease)
                else:
                    lease.record.message = message
                    lease.record.state = LeaseState.HELD
                    log.info("lease_received_again", message=message.id, receive_count=message.receive_count)
                self._confirm(lease.record, message.received_at, self._visibility_timeout)
        self.changed.set()
        return fresh

    def take(self, lease: Lease) -> bool:
        """Takes a lease out of the table, to release or delete its message.

        Waits for a renewal of it that is under way, so that none can land later.

        Returns:
            True: the message is the caller's to deal with. False: the lease was lost, or is taken already.
        """
        return bool(self._take([lease]))

    def restore(self, lease: Lease) -> None:
        """Puts back a taken lease whose message could not be deleted, so that it is renewed until the next try."""
        with self._lock:
            if lease.record.state is not LeaseState.TAKEN or lease.message.id in self._leases:
                return
            lease.record.state = LeaseState.HELD
            self._hold(lease)
        self.changed.set()

    def release(self, leases: Sequence[Lease], delay: int = 0, timeout: float | None = None) -> BatchResult:
        """Takes leases out and makes their messages visible again.

        The last received goes first, so that a FIFO group comes back in order. A release that fails is logged and not
        repeated: the message shows up by itself when its visibility timeout ends.

        Args:
            leases: Those that are not in the table any more are passed over.
            delay: Seconds until the messages are visible.
            timeout: Most seconds to wait for renewals under way, where that has to be less than `take_timeout`.

        Returns:
            What the queue said to those that were still held.
        """
        messages = [lease.message for lease in self._take(leases, timeout)]
        if not messages:
            return BatchResult()
        result = self._queue.release(messages[::-1], delay)
        for message_id, reason in {**result.failed, **result.beyond}.items():
            log.warning("release_failed", message=message_id, error=reason)
        return result

    def release_all(self, timeout: float | None = None) -> BatchResult:
        """Releases whatever is still held, at the end of a shutdown; see `release`."""
        with self._lock:
            leases = list(self._leases.values())
        return self.release(leases, timeout=timeout)

    def _take(self, leases: Sequence[Lease], timeout: float | None = None) -> list[Lease]:
        with self._lock:
            taken = [lease for lease in leases if self._leases.get(lease.message.id) is lease]
            for lease in taken:
                self._remove(lease, LeaseState.TAKEN)
        deadline = self._clock.now() + min(self._take_timeout, math.inf if timeout is None else timeout)
        for lease in taken:
            self._settle(lease.record, deadline)
        with self._lock:
            return [lease for lease in taken if lease.record.state is LeaseState.TAKEN]

    def _settle(self, record: LeaseRecord, deadline: float) -> None:
        """Waits until no renewal of the lease is under way."""
        while True:
            with self._lock:
                if not record.in_flight:
                    return
                changed = record.changed
            left = deadline - self._clock.now()
            if left <= 0:
                # Going on hides the message for one visibility timeout more, at worst; waiting on would miss the
                # deadline of a shutdown.
                log.warning("take_unsettled", message=record.message.id)
                return
            self._clock.wait(changed, left)

    # -- for the heartbeat -----------------------------------------------------------------------------------------

    def seconds_until_due(self) -> float:
        """How long the heartbeat may rest: until a lease is due, or runs out; infinite without leases."""
        with self._lock:
            times = [
                record.confirmed_until if record.state is LeaseState.ENDING else record.due_at
                for record in (lease.record for lease in self._leases.values())
            ]
        return max(0.0, min(times, default=math.inf) - self._clock.now())

    def begin_renewals(self) -> list[Renewal]:
        """The next request's worth of leases to renew, the most urgent first; empty when there is nothing to ask for.

        Each must be answered through `end_renewals`.
        """
        with self._lock:
            now = self._clock.now()
            self._expire(now)
            renewals = [self._renewal(lease, now) for lease in self._due(now)]
            ending = [each.lease for each in renewals if each.gains_nothing(now)]
            for lease in ending:
                lease.record.state = LeaseState.ENDING
            if ending:
                renewals = []  # the others are left for the next round: a listener that fails leaves none in flight
            for renewal in renewals:
                renewal.record.in_flight = True
        self._report_ending(ending)
        return renewals

    def end_renewals(self, renewals: Sequence[Renewal], sent_at: float, result: BatchResult) -> None:
        """Notes what the queue said.

        Args:
            renewals: As `begin_renewals` gave them.
            sent_at: Clock time before the request was sent.
            result: The queue's answer; a message that it does not name counts as failed.
        """
        outcomes: Counter[RenewalOutcome] = Counter()
        ending: list[Lease] = []
        with self._lock:
            retry_at = self._retry_at(renewals)
            for renewal in renewals:
                renewal.record.in_flight = False
                renewal.record.wake()
            for renewal in renewals:
                outcomes[self._answered(renewal, sent_at, result, retry_at)] += 1
                if renewal.record.state is LeaseState.ENDING:
                    ending.append(renewal.lease)
        for outcome, count in outcomes.items():
            self._on_renewals(outcome, count)
        if outcomes[RenewalOutcome.FAILED]:
            self._report_failed(renewals, result, outcomes[RenewalOutcome.FAILED])
        self._report_ending(ending)

    # -- inside, under the lock ------------------------------------------------------------------------------------

    def _hold(self, lease: Lease) -> None:
        self._leases[lease.message.id] = lease
        self._idle.clear()

    def _remove(self, lease: Lease, state: LeaseState) -> None:
        lease.record.state = state
        if self._leases.get(lease.message.id) is lease:
            del self._leases[lease.message.id]
        if not self._leases:
            self._idle.set()
        lease.record.wake()

    def _due(self, now: float) -> list[Lease]:
        """Up to ten leases, if one of them is due; the one that runs out first coming first."""
        waiting = [
            lease
            for lease in self._leases.values()
            if lease.record.state is LeaseState.HELD and not lease.record.in_flight
        ]
        due_at = min((lease.record.due_at for lease in waiting), default=math.inf)
        if due_at > now:
            return []
        if now - due_at > max(self._shortest_retry, self._visibility_timeout * LATE_FRACTION):
            log.warning("heartbeat_late", seconds=round(now - due_at, 1), leases=len(self._leases))
        horizon = now + self._visibility_timeout * COMPANY_FRACTION
        # A lease that is failing has no company: asked again and again, it would keep the round from ending.
        company = [lease for lease in waiting if lease.record.due_at <= (now if lease.record.failing else horizon)]
        return sorted(company, key=lambda lease: lease.confirmed_until)[:BATCH]

    def _renewal(self, lease: Lease, now: float) -> Renewal:
        left = max(0, math.floor(lease.message.received_at + self._lifetime - now))
        seconds = min(self._visibility_timeout, left)
        return Renewal(lease.record, lease, lease.message, seconds, last=left <= self._visibility_timeout)

    def _answered(self, renewal: Renewal, sent_at: float, result: BatchResult, retry_at: float) -> RenewalOutcome:
        record, message_id = renewal.record, renewal.message.id
        if message_id in result.done:
            outcome = RenewalOutcome.RENEWED
        elif message_id in result.refused:
            outcome = RenewalOutcome.REFUSED
        else:
            outcome = RenewalOutcome.FAILED
        if record.message is not renewal.message:
            return outcome  # received again meanwhile: this was about a receipt that no longer counts
        if outcome is RenewalOutcome.RENEWED:
            self._confirm(record, sent_at, renewal.seconds)
            if renewal.last:
                self._end(record)
        elif outcome is RenewalOutcome.REFUSED:
            self._lose(renewal.lease, result.refused[message_id])
        elif message_id in result.beyond:
            self._end(record)
        else:
            record.failing, record.due_at = True, retry_at
        return outcome

    def _confirm(self, record: LeaseRecord, sent_at: float, seconds: int) -> None:
        record.confirmed_until, record.failing = sent_at + seconds, False
        due_at = sent_at + self._visibility_timeout * self._rng.uniform(*RENEW_FRACTIONS)
        # A long poll or a slow answer may have used that up; the lease is due at once then, which is not late.
        record.due_at = max(due_at, self._clock.now())
        record.wake()

    def _end(self, record: LeaseRecord) -> None:
        if record.state is LeaseState.HELD:
            record.state = LeaseState.ENDING

    def _retry_at(self, renewals: Sequence[Renewal]) -> float:
        """When a request that failed is made again: one time for all in it, so that they stay one request."""
        now = self._clock.now()
        left = min(renewal.record.confirmed_until for renewal in renewals) - now
        pause = left * self._rng.uniform(*RETRY_FRACTIONS) if left > 0 else self._lapsed_retry
        return now + max(self._shortest_retry, pause)

    def _expire(self, now: float) -> None:
        """Ends the leases at the ceiling of which nothing is left."""
        for lease in list(self._leases.values()):
            if lease.record.state is LeaseState.ENDING and now >= lease.confirmed_until:
                self._lose(lease, "the queue hides a message for at most 12 hours after its receive")

    def _lose(self, lease: Lease, reason: str) -> None:
        log.warning("lease_lost", message=lease.message.id, reason=reason)
        self._remove(lease, LeaseState.LOST)
        lease.cancellation.cancel(CancelReason.LEASE_LOST)
        self._on_lost()

    # -- inside, without the lock ----------------------------------------------------------------------------------

    def _report_ending(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            left = round(lease.confirmed_until - self._clock.now(), 1)
            log.info("lease_ending", message=lease.message.id, left=left)
            self._on_ending(lease)

    def _report_failed(self, renewals: Sequence[Renewal], result: BatchResult, count: int) -> None:
        reasons = {**result.failed, **result.beyond}
        error = next(iter(reasons.values()), "the queue did not answer for every message")
        left = min(renewal.record.confirmed_until for renewal in renewals) - self._clock.now()
        log.warning("renewals_failed", count=count, error=error, left=round(left, 1))
