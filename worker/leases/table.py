# SPDX-License-Identifier: Apache-2.0
"""The lease table: every message that this worker holds, and when it is renewed."""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

import structlog

from sqscribe.errors import CancelReason
from stages.ports import Clock
from worker.leases.lease import Lease, LeaseRecord, LeaseState
from worker.leases.renewals import (
    CEILING_MARGIN_SECONDS,
    CEILING_SECONDS,
    Renewal,
    RenewalOutcome,
    RenewalSchedule,
)
from worker.queues import BatchResult, Message, Queue

__all__ = ["LeaseTable"]

log = structlog.get_logger()


class LeaseTable:
    """Holds the lease of every message from its receive until it is taken or lost. Thread-safe.

    The heartbeat renews what is in the table and nothing else. A lease is taken out, under the lock, before its message
    is released or deleted, and taking waits for a renewal that is under way: one that landed after a release would hide
    the message again.

    Args:
        queue: Releases messages.
        clock: Leases are reckoned by it.
        visibility_timeout: Seconds that a receive, and each renewal, hides a message for.
        ceiling: Seconds after the receive for which the queue hides a message at most.
        margin: The last so many seconds of the ceiling are not asked for.
        shortest_retry: Fewest seconds between two tries to renew a lease.
        lapsed_retry: Seconds between two tries once it has lapsed.
        take_timeout: Most seconds that `take` waits for a renewal under way; longer than the heartbeat's request takes
            with all its attempts.
        on_renewals: Called with what the queue said, and to how many renewals; may not block.
        on_lost: Called for every lost lease; may not block.
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
        rng: random.Random | None = None,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._visibility_timeout = visibility_timeout
        self._take_timeout = take_timeout
        self._on_renewals = on_renewals
        self._on_lost = on_lost
        self._schedule = RenewalSchedule(
            visibility_timeout=visibility_timeout,
            ceiling=ceiling,
            margin=margin,
            shortest_retry=shortest_retry,
            lapsed_retry=lapsed_retry,
            rng=rng or random.Random(),  # noqa: S311 - spreads load, guards nothing
        )
        self._lock = threading.RLock()  # guards _leases, _schedule and the record of every lease
        self._leases: dict[str, Lease] = {}
        #: Set when a lease comes in: the heartbeat may have to beat earlier than it thought.
        self.changed = threading.Event()

    @property
    def count(self) -> int:
        """How many messages are held."""
        return len(self._leases)

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
                    self._leases[message.id] = lease
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
            self._leases[lease.message.id] = lease
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
            due = self._schedule.request(self._leases.values(), now)
            renewals = [renewal for renewal in due if not renewal.gains_nothing(now)]
            ending = [renewal.lease for renewal in due if renewal.gains_nothing(now)]
            for lease in ending:
                lease.record.state = LeaseState.ENDING
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
            retry_at = self._schedule.retry_at(renewals, self._clock.now())
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

    def _remove(self, lease: Lease, state: LeaseState) -> None:
        lease.record.state = state
        if self._leases.get(lease.message.id) is lease:
            del self._leases[lease.message.id]
        lease.record.wake()

    def _answered(self, renewal: Renewal, sent_at: float, result: BatchResult, retry_at: float) -> RenewalOutcome:
        record, message_id, outcome = renewal.record, renewal.message.id, renewal.outcome(result)
        if record.message is not renewal.message:
            return outcome  # received again meanwhile: this was about a receipt that no longer counts
        match outcome:
            case RenewalOutcome.RENEWED:
                self._confirm(record, sent_at, renewal.seconds)
                if renewal.last:
                    self._end(record)
            case RenewalOutcome.REFUSED:
                self._lose(renewal.lease, result.refused[message_id])
            case RenewalOutcome.FAILED if message_id in result.beyond:
                self._end(record)
            case RenewalOutcome.FAILED:
                record.failing, record.due_at = True, retry_at
            case _:
                assert_never(outcome)
        return outcome

    def _confirm(self, record: LeaseRecord, sent_at: float, seconds: int) -> None:
        record.confirmed_until, record.failing = sent_at + seconds, False
        record.due_at = self._schedule.due_at(sent_at, self._clock.now())
        record.wake()

    def _end(self, record: LeaseRecord) -> None:
        if record.state is LeaseState.HELD:
            record.state = LeaseState.ENDING

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

    def _report_failed(self, renewals: Sequence[Renewal], result: BatchResult, count: int) -> None:
        reasons = {**result.failed, **result.beyond}
        error = next(iter(reasons.values()), "the queue did not answer for every message")
        left = min(renewal.record.confirmed_until for renewal in renewals) - self._clock.now()
        log.warning("renewals_failed", count=count, error=error, left=round(left, 1))
