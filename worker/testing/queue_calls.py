# SPDX-License-Identifier: Apache-2.0
"""One request to the fake queue: what a test has happen to it, and what the queue's log says of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

__all__ = ["Fault", "Gate", "QueueCall"]


@dataclass(frozen=True, slots=True)
class Gate:
    """Stops a call on its way, so that a test can do something meanwhile."""

    entered: threading.Event = field(default_factory=threading.Event)
    leave: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request (of up to ten messages).

    Attributes:
        delay: Seconds of the clock that the request takes before it has its effect.
        lag: Seconds from its effect to its answer.
        gate: Held there, before its effect, until a test opens it (at most 30 real seconds).
        code: Error code; None: it succeeds.
        message: The error's text.
        entries: Places in the request that the error hits; None: the request as a whole fails.
        applied: With a `code`: whether the request has its effect all the same (only the answer is lost).
        raises: Raised as it is: a bug in the client.
    """

    delay: float = 0.0
    lag: float = 0.0
    gate: Gate | None = None
    code: str | None = None
    message: str = ""
    entries: frozenset[int] | None = None
    applied: bool = False
    raises: Exception | None = None


@dataclass(frozen=True, slots=True)
class QueueCall:
    """One request, as the log of calls has it.

    Attributes:
        operation: `receive`, `extend`, `release`, `delete` or `send`.
        at: Clock time of its effect.
        ids: Message ids that it named, or brought.
        seconds: What `extend` and `release` asked for, in the order of `ids`.
    """

    operation: str
    at: float
    ids: tuple[str, ...]
    seconds: tuple[int, ...] = ()
