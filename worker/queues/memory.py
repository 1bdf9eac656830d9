# SPDX-License-Identifier: Apache-2.0
"""A queue within this process, for jobs that come from the command line."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sqscribe.errors import SettingsFaultError
from stages.ports import Clock
from worker.queues import BatchResult, Message, Outgoing, QueueFacts

__all__ = ["MemoryQueue"]

_NOT_HELD = "the receipt no longer counts: the message was received again, released or deleted"


@dataclass(slots=True, eq=False)
class _Stored:
    id: str
    outgoing: Outgoing
    visible_at: float
    receive_count: int = 0
    receipt: str | None = None


class MemoryQueue:
    """Implements `worker.queues.Queue`: first come, first served, visibility timeouts as SQS has them. Thread-safe.

    Args:
        clock: Messages are hidden by it.
        visibility_timeout: Seconds that a receive hides a message for.
        max_receives: Given by `facts` and not enforced: a message is handed out as often as it becomes visible.
    """

    def __init__(self, clock: Clock, *, visibility_timeout: int, max_receives: int | None = None) -> None:
        self._clock = clock
        self._visibility_timeout = visibility_timeout
        self._max_receives = max_receives
        self._changed = threading.Condition()  # guards _messages and _closed; told of messages that become visible
        self._messages: dict[str, _Stored] = {}
        self._closed = False
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        """How many messages there are, hidden or not."""
        return len(self._messages)

    def close(self) -> None:
        """Ends every long poll; from here on a receive returns at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def facts(self) -> QueueFacts:
        """The attributes of this queue, which has no dead-letter queue."""
        return QueueFacts(max_receives=self._max_receives, dead_letter_url=None, fifo=False)

    def receive(self, limit: int, wait: float) -> list[Message]:
        """Up to `limit` messages, waiting for the first up to `wait` seconds."""
        asked_at = self._clock.now()
        with self._changed:
            while True:
                now = self._clock.now()
                messages = self._hand_out(limit, asked_at, now)
                left = asked_at + wait - now
                if messages or self._closed or left <= 0:
                    return messages
                hidden = (stored.visible_at - now for stored in self._messages.values())
                self._changed.wait(min([left, *hidden]))

    def extend(self, messages: Sequence[tuple[Message, int]]) -> BatchResult:
        """Hides each message for so many seconds from now on."""
        done: set[str] = set()
        refused: dict[str, str] = {}
        with self._changed:
            now = self._clock.now()
            for message, seconds in messages:
                stored = self._held(message, now)
                if stored is None:
                    refused[message.id] = _NOT_HELD
                else:
                    stored.visible_at = now + seconds
                    done.add(message.id)
            self._changed.notify_all()
        return BatchResult(done=frozenset(done), refused=refused)

    def release(self, messages: Sequence[Message], delay: int = 0) -> BatchResult:
        """Makes the messages visible again after `delay` seconds."""
        return self.extend([(message, delay) for message in messages])

    def delete(self, messages: Sequence[Message]) -> BatchResult:
        """Removes the messages, unless they were received again since."""
        done: set[str] = set()
        refused: dict[str, str] = {}
        with self._changed:
            for message in messages:
                stored = self._messages.get(message.id)
                if stored is not None and stored.receipt != message.receipt:
                    refused[message.id] = _NOT_HELD
                else:
                    self._messages.pop(message.id, None)
                    done.add(message.id)
        return BatchResult(done=frozenset(done), refused=refused)

    def send(self, url: str | None, outgoing: Outgoing) -> None:
        """Adds a message.

        Raises:
            SettingsFaultError: `url` names another queue; there is none.
        """
        if url is not None:
            raise SettingsFaultError("a queue in memory has no other queues beside it")
        with self._changed:
            stored = _Stored(f"message-{next(self._numbers)}", outgoing, self._clock.now())
            self._messages[stored.id] = stored
            self._changed.notify_all()

    def _held(self, message: Message, now: float) -> _Stored | None:
        stored = self._messages.get(message.id)
        held = stored is not None and stored.receipt == message.receipt and stored.visible_at > now
        return stored if held else None

    def _hand_out(self, limit: int, asked_at: float, now: float) -> list[Message]:
        visible = (stored for stored in self._messages.values() if stored.visible_at <= now)
        messages = []
        for stored in itertools.islice(visible, limit):
            stored.receive_count += 1
            stored.receipt = f"{stored.id}#{stored.receive_count}"
            stored.visible_at = now + self._visibility_timeout
            messages.append(
                Message(
                    id=stored.id,
                    receipt=stored.receipt,
                    body=stored.outgoing.body,
                    receive_count=stored.receive_count,
                    received_at=asked_at,
                    attributes=dict(stored.outgoing.attributes),
                    group_id=stored.outgoing.group_id,
                    typed=dict(stored.outgoing.typed),
                )
            )
        return messages
