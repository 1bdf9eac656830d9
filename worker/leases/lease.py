# SPDX-License-Identifier: Apache-2.0
"""One lease: what work on its message may know of it, and the fence before each write."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from sqscribe.errors import Cancelled, CancelReason, NodeFaultError, Witness
from stages.ports import Cancellation, Clock
from worker.queues import Message

__all__ = ["Lease", "LeaseRecord", "LeaseState"]


class LeaseState(StrEnum):
    """Whether a message is still this worker's, as far as is known."""

    HELD = "held"
    LAPSED = "lapsed"  # what was confirmed has run out; the queue has neither granted nor refused more
    ENDING = "ending"  # held until what is confirmed runs out; the 12 h allow no more
    LOST = "lost"  # refused by the queue, or run out for good
    TAKEN = "taken"  # out of the table: about to be released or deleted


@dataclass(slots=True, eq=False)
class LeaseRecord:
    """What the lease table knows of a lease; only the table writes it, under its lock.

    Attributes:
        message: With its newest receipt.
        state: Never `LAPSED`, which depends on the time at which it is asked.
        confirmed_until: Clock time until which the message is surely hidden.
        due_at: Clock time of the next renewal.
        failing: Whether the last renewal failed.
        in_flight: Whether a renewal is under way.
        changed: Set, and replaced by a fresh one, at every change; waiters wait on the one they read under the lock.
    """

    message: Message
    state: LeaseState = LeaseState.HELD
    confirmed_until: float = -math.inf
    due_at: float = -math.inf
    failing: bool = False
    in_flight: bool = False
    changed: threading.Event = field(default_factory=threading.Event)

    def wake(self) -> None:
        """Wakes all that wait for a change. Called under the table's lock."""
        changed, self.changed = self.changed, threading.Event()
        changed.set()


class Lease:
    """The right to work on a message; made by `LeaseTable.add`. Thread-safe.

    Attributes:
        cancellation: Ends the work on the message; cancelled with `LEASE_LOST` when the lease is lost.
        record: The table's own; nobody else touches it.
    """

    def __init__(self, record: LeaseRecord, lock: threading.RLock, clock: Clock) -> None:
        self.record = record
        self.cancellation: Cancellation = _WakingCancellation(self._wake)
        self._lock = lock  # the table's; guards the record
        self._clock = clock

    @property
    def message(self) -> Message:
        """The message with its newest receipt."""
        return self.record.message

    @property
    def confirmed_until(self) -> float:
        """Clock time until which the message is surely hidden, reckoned from before the request was sent."""
        return self.record.confirmed_until

    @property
    def state(self) -> LeaseState:
        """Whether the message is still this worker's, as far as is known now."""
        with self._lock:
            state = self.record.state
            held = state in {LeaseState.HELD, LeaseState.ENDING}
            return LeaseState.LAPSED if held and self._clock.now() >= self.record.confirmed_until else state

    def fence(self, timeout: float = 10.0) -> None:
        """Returns once a write or a delete may be started; to be called before each.

        Waits while the lease has lapsed, until a renewal succeeds or is refused.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            Cancelled: The lease is lost or given up, or its work was called off.
            NodeFaultError: The queue has not answered for `timeout` seconds; the caller may ask again.
        """
        deadline = self._clock.now() + timeout
        while True:
            with self._lock:
                self.cancellation.check()
                state = self.state
                changed = self.record.changed
            match state:
                case LeaseState.HELD | LeaseState.ENDING:
                    return
                case LeaseState.LOST | LeaseState.TAKEN:
                    raise Cancelled(CancelReason.LEASE_LOST)
                case LeaseState.LAPSED:
                    pass
                case _:
                    assert_never(state)
            left = deadline - self._clock.now()
            if left <= 0:
                raise NodeFaultError(
                    f"nothing is written for message {self.message.id} until the queue confirms its lease, which it"
                    f" has not done for {timeout:g} s; check that the queue can be reached",
                    witness=Witness.NOBODY,
                )
            self._clock.wait(changed, left)

    def _wake(self) -> None:
        with self._lock:
            self.record.wake()


class _WakingCancellation(Cancellation):
    """A cancellation that also wakes those who wait at the fence."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def cancel(self, reason: CancelReason) -> None:
        super().cancel(reason)
        self._wake()
