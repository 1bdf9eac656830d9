# SPDX-License-Identifier: Apache-2.0
"""The queue that jobs come from, as a protocol.

`sqs` is the real one, `memory` serves `sqscribe transcribe`, `choice` picks one by its URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["BATCH", "MOST_ATTRIBUTES", "BatchResult", "Message", "Outgoing", "Queue", "QueueFacts"]

#: Limits of SQS, which the worker keeps on every queue: messages of one request, attributes of a message.
BATCH = 10
MOST_ATTRIBUTES = 10


@dataclass(frozen=True, slots=True)
class Message:
    """One receive of a message.

    Attributes:
        id: The queue's own id; the same on every receive.
        receipt: Names this one receive; the next one has another.
        receive_count: 1 on the first receive.
        received_at: Clock time just before the request that brought it was sent; its 12 h count from here.
        attributes: The sender's string attributes, and numbers as strings.
        group_id: Of a FIFO queue, or a fair-queue tenant.
        typed: Attributes that are no strings, as the queue gave them, for copies of the message.
    """

    id: str
    receipt: str
    body: str
    receive_count: int
    received_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)
    group_id: str | None = None
    typed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send; `deduplication_id` and `group_id` matter on FIFO queues only.

    Attributes:
        typed: As `Message.typed`; goes before a string of the same name in `attributes`.
    """

    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    group_id: str | None = None
    deduplication_id: str | None = None
    typed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch call did to each of its messages, by message id.

    Attributes:
        done: Confirmed by the queue.
        refused: The receipt no longer counts (stale, expired, not in flight): the lease is lost. Values say why.
        beyond: More was asked for than is left of the 12 h: the message stays hidden for as long as it was. Values say
            why.
        failed: Anything else, the whole call's failure included: may be tried again. Values say why.
        unanswered: Why a whole request failed, so that it is no message's own trouble; None: all were answered.
    """

    done: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    beyond: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    unanswered: str | None = None


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """The attributes of a queue that a worker goes by.

    Attributes:
        max_receives: From its redrive policy; None without one.
        dead_letter_url: Its redrive target; None without one.
    """

    max_receives: int | None
    dead_letter_url: str | None
    fifo: bool


class Queue(Protocol):
    """One queue. Thread-safe. Lists of any length are cut into batches of ten inside.

    `receive` and `send` raise `NodeFaultError` when the queue cannot be reached and `SettingsFaultError` when it does
    not exist or refuses access, `send` `MessageRefusedError` when it does not take this very message; `extend`,
    `release` and `delete` never raise but for a bug: they answer per message.
    """

    def facts(self) -> QueueFacts:
        """Asks the queue for its attributes."""

    def receive(self, limit: int, wait: float) -> list[Message]:
        """Up to `limit` (at most 10) messages, waiting for the first up to `wait` seconds (at most 20)."""

    def extend(self, messages: Sequence[tuple[Message, int]]) -> BatchResult:
        """Hides each message for so many seconds from now on. Uses the heartbeat's own client."""

    def release(self, messages: Sequence[Message], delay: int = 0) -> BatchResult:
        """Makes the messages visible again after `delay` seconds."""

    def delete(self, messages: Sequence[Message]) -> BatchResult:
        """Removes the messages."""

    def send(self, url: str | None, outgoing: Outgoing) -> None:
        """Sends to the queue at `url` (a dead-letter queue), or to this one when it is None."""
