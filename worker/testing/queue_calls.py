# SPDX-License-Identifier: Apache-2.0
"""One request to the fake queue: what a test has happen to it, and what the queue's log says of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqscribe.errors import MessageRefusedError
from worker.queues import MOST_ATTRIBUTES, Outgoing

__all__ = ["Fault", "Gate", "QueueCall", "check_limits", "message_bytes"]


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


def message_bytes(body: str, attributes: Mapping[str, Mapping[str, Any]]) -> int:
    """The size of a message as SQS counts it: the body, and of each attribute name, type and value."""
    size = len(body.encode(errors="replace"))
    for name, value in attributes.items():
        held = value.get("StringValue", value.get("BinaryValue", ""))
        size += len(name.encode()) + len(str(value.get("DataType", "String")))
        size += len(held.encode(errors="replace") if isinstance(held, str) else held)
    return size


def check_limits(outgoing: Outgoing, max_bytes: int) -> None:
    """Refuses what SQS would.

    Raises:
        MessageRefusedError: The message is too large, attributes counted, or has too many of them.
    """
    attributes = {name: {"StringValue": value} for name, value in outgoing.attributes.items()} | dict(outgoing.typed)
    if message_bytes(outgoing.body, attributes) > max_bytes:
        raise MessageRefusedError(f"InvalidParameterValue: Message must be shorter than {max_bytes} bytes.")
    if len(attributes) > MOST_ATTRIBUTES:
        raise MessageRefusedError(f"InvalidParameterValue: Number of message attributes [{len(attributes)}] exceeds 10")
