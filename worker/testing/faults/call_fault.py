# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a call, and the dice that decide about it unless a fault is forced."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from worker.testing.faults.calls import Call

__all__ = ["CallFault", "Dice", "Kind"]


class Kind(StrEnum):
    """Ways in which a call goes wrong."""

    ERROR_500 = "500"
    ERROR_503 = "503"
    RESET = "reset"
    TIMEOUT = "timeout"  # no answer for longer than any client waits
    STALL = "stall"  # a late answer
    TRUNCATED = "truncated"  # the body of an object breaks off


#: How often each kind comes up, out of 100. Time-outs are rare: one costs its caller half a minute.
_WEIGHTS: Mapping[Kind, int] = {
    Kind.ERROR_500: 27,
    Kind.ERROR_503: 27,
    Kind.RESET: 24,
    Kind.STALL: 18,
    Kind.TIMEOUT: 4,
}


@dataclass(frozen=True, slots=True)
class CallFault:
    """What goes wrong with one call.

    Attributes:
        after: Whether the call has its effect all the same, and only its answer is lost.
        seconds: How long a stall or a time-out takes.
        share: How much of a truncated body comes, 0 to 1.
    """

    kind: Kind
    after: bool = False
    seconds: float = 0.0
    share: float = 0.0


class Dice:
    """Decides at random which call goes wrong, and how. Thread-safe.

    The same seed gives the same sequence of draws; which call meets which of them depends on the threads.

    Args:
        seed: Decides the sequence.
        rate: Share of calls that go wrong.
        truncated: Share of the other GETs of objects whose body breaks off.
        stall_seconds: Longest stall.
        timeout_seconds: How long a time-out takes; longer than the clients' read time-out.
    """

    def __init__(
        self,
        seed: int,
        *,
        rate: float = 0.03,
        truncated: float = 0.03,
        stall_seconds: float = 6.0,
        timeout_seconds: float = 40.0,
    ) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._forced: dict[str, CallFault] = {}
        self._rate = rate
        self._truncated = truncated
        self._stall_seconds = stall_seconds
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()  # guards _rng and _forced

    def force(self, operation: str, fault: CallFault | None) -> None:
        """Has every call of an operation go wrong in the same way from now on; None leaves it to chance again."""
        with self._lock:
            if fault is None:
                self._forced.pop(operation, None)
            else:
                self._forced[operation] = fault

    def draw(self, call: Call) -> CallFault | None:
        """Draws what goes wrong with a call; None when nothing does."""
        with self._lock:
            if call.operation in self._forced:
                return self._forced[call.operation]
            if self._rng.random() < self._rate:
                kind = self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
                after = call.mutates and kind is not Kind.STALL and self._rng.random() < 0.5
                return CallFault(kind, after, self._seconds(kind))
            if call.operation == "GetObject" and self._rng.random() < self._truncated:
                return CallFault(Kind.TRUNCATED, share=self._rng.random())
        return None

    def _seconds(self, kind: Kind) -> float:
        if kind is Kind.STALL:
            return self._rng.uniform(0.1, 1.0) * self._stall_seconds
        return self._timeout_seconds if kind is Kind.TIMEOUT else 0.0
