# SPDX-License-Identifier: Apache-2.0
"""A queue with the semantics of SQS, on a clock that a test moves, that fails as a test tells it to.

Emulators get stale receipts, the 12 h ceiling and messages that are not in flight wrong; this one follows the service
model of botocore and the SQS developer guide.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqscribe.errors import NodeFaultError, SettingsFaultError
from stages.ports import Clock
from worker.queues import BatchResult, Message, Outgoing, QueueFacts
from worker.queues.sqs_errors import gather
from worker.testing.queue_calls import Fault, Gate, QueueCall, check_limits

__all__ = ["FakeQueue", "Fault", "Gate", "QueueCall"]

#: Most messages of one request.
BATCH = 10
#: A message stays hidden for at most so many seconds after its receive.
CEILING_SECONDS = 43_200
#: A second FIFO message with the same deduplication id is swallowed for so many seconds.
DEDUPLICATION_SECONDS = 300.0

_BEYOND = f"Total VisibilityTimeout for the message is beyond the limit [{CEILING_SECONDS} seconds]"
_NOT_IN_FLIGHT = ("MessageNotInflight", "The specified message isn't in flight.")
_STALE = ("ReceiptHandleIsInvalid", "The specified receipt handle isn't valid.")
_EXPIRED = (
    "InvalidParameterValue",
    "Value for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
)


@dataclass(slots=True, eq=False)
class _Stored:
    id: str
    outgoing: Outgoing
    visible_at: float
    receive_count: int = 0
    received_at: float = 0.0
    receipt: str | None = None


class FakeQueue:
    """Implements `worker.queues.Queue`. Thread-safe.

    Args:
        clock: Messages are hidden by it.
        visibility_timeout: Seconds that a receive hides a message for.
        max_receives: The receive that would exceed it moves the message to `dead_letters` instead.
        dead_letters: The redrive target.
        fifo: Groups are delivered in order, one receive at a time.
        max_bytes: Most bytes of a message, attributes counted.
        in_flight_limit: Beyond so many hidden messages nothing is delivered, and a long poll says nothing of it.
        url: Its address; that of `dead_letters` may be sent to as well.

    Attributes:
        max_bytes: A test may change it at any time.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        visibility_timeout: int = 300,
        max_receives: int | None = None,
        dead_letters: FakeQueue | None = None,
        fifo: bool = False,
        max_bytes: int = 1 << 20,
        in_flight_limit: int = 120_000,
        url: str = "https://sqs.test/1/jobs",
    ) -> None:
        self.url = url
        self.dead_letters = dead_letters
        self._clock = clock
        self._visibility_timeout = visibility_timeout
        self._max_receives = max_receives
        self._fifo = fifo
        self.max_bytes = max_bytes
        self._in_flight_limit = in_flight_limit
        self._lock = threading.RLock()  # guards everything below
        self._messages: dict[str, _Stored] = {}
        self._deduplication: dict[str, float] = {}
        self._faults: dict[str, deque[Fault]] = {}
        self._outage_until = float("-inf")
        self._closed = False
        self._calls: list[QueueCall] = []
        self._changed = threading.Event()
        self._numbers = itertools.count(1)

    # -- for the test ----------------------------------------------------------------------------------------------

    def script(self, operation: str, *faults: Fault, times: int = 1) -> None:
        """The next requests of that operation meet these faults, in turn, `times` over."""
        with self._lock:
            self._faults.setdefault(operation, deque()).extend(faults * times)

    def outage(self, seconds: float) -> None:
        """For so many seconds every request fails."""
        with self._lock:
            self._outage_until = self._clock.now() + seconds

    def close(self) -> None:
        """Ends every long poll; from here on a receive returns at once. A test that is over waits for none."""
        with self._lock:
            self._closed = True
            self._wake()

    @property
    def calls(self) -> list[QueueCall]:
        """Every request so far that had an effect."""
        with self._lock:
            return list(self._calls)

    @property
    def bodies(self) -> list[str]:
        """Bodies of all messages, hidden or not, in the order in which they were sent."""
        with self._lock:
            return [stored.outgoing.body for stored in self._messages.values()]

    @property
    def messages(self) -> list[Outgoing]:
        """All messages, hidden or not, in the order in which they were sent."""
        with self._lock:
            return [stored.outgoing for stored in self._messages.values()]

    def __len__(self) -> int:
        """How many messages there are, hidden or not."""
        with self._lock:
            return len(self._messages)

    @property
    def visible(self) -> int:
        """How many messages a receive could bring now, groups and limits aside."""
        with self._lock:
            return sum(stored.visible_at <= self._clock.now() for stored in self._messages.values())

    def visible_at(self, message_id: str) -> float:
        """Clock time from which the message is visible.

        Raises:
            KeyError: It is gone.
        """
        with self._lock:
            return self._messages[message_id].visible_at

    # -- Queue -----------------------------------------------------------------------------------------------------

    def facts(self) -> QueueFacts:
        """The attributes of a queue with this redrive policy."""
        return QueueFacts(
            max_receives=self._max_receives,
            dead_letter_url=self.dead_letters.url if self.dead_letters is not None else None,
            fifo=self._fifo,
        )

    def receive(self, limit: int, wait: float) -> list[Message]:
        """Polls, for up to `wait` seconds until a first message comes."""
        asked_at = self._clock.now()
        fault = self._meet("receive")
        if fault.code and not fault.applied:
            raise NodeFaultError(f"{fault.code}: {fault.message}")
        while True:
            with self._lock:
                now = self._clock.now()
                messages = self._hand_out(min(limit, BATCH), asked_at, now)
                changed, closed = self._changed, self._closed
                wake_at = min(
                    (stored.visible_at for stored in self._messages.values() if stored.visible_at > now),
                    default=float("inf"),
                )
            left = asked_at + wait - now
            if messages or closed or left <= 0:
                break
            self._clock.wait(changed, min(left, wake_at - now))
        self._lag(fault)
        if fault.code:
            raise NodeFaultError(f"{fault.code}: {fault.message}")
        return messages

    def extend(self, messages: Sequence[tuple[Message, int]]) -> BatchResult:
        """Hides each message for so many seconds from now on, or says why not."""
        return self._batches("extend", list(messages), self._change)

    def release(self, messages: Sequence[Message], delay: int = 0) -> BatchResult:
        """Makes the messages visible after `delay` seconds."""
        return self._batches("release", [(message, delay) for message in messages], self._change)

    def delete(self, messages: Sequence[Message]) -> BatchResult:
        """Removes the messages; with a stale receipt a standard queue says so, but removes nothing."""
        return self._batches("delete", [(message, 0) for message in messages], self._remove)

    def send(self, url: str | None, outgoing: Outgoing) -> None:
        """Sends to this queue or its redrive target."""
        if url is not None and url != self.url:
            if self.dead_letters is None or url != self.dead_letters.url:
                raise SettingsFaultError(f"there is no queue at {url}")
            self.dead_letters.send(None, outgoing)
            return
        fault = self._meet("send")
        if fault.code and not fault.applied:
            raise NodeFaultError(f"{fault.code}: {fault.message}")
        self._put(outgoing)
        self._lag(fault)
        if fault.code:
            raise NodeFaultError(f"{fault.code}: {fault.message}")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _meet(self, operation: str) -> Fault:
        """The fault of the next request, with its delay and its gate behind it."""
        with self._lock:
            faults = self._faults.get(operation)
            fault = faults.popleft() if faults else Fault()
        if fault.gate is not None:
            fault.gate.entered.set()
            if not fault.gate.leave.wait(30.0):
                raise TimeoutError(f"the gate before {operation} was never opened")
        if fault.delay:
            self._clock.wait(threading.Event(), fault.delay)
        if fault.raises is not None:
            raise fault.raises
        if fault.code is None and self._clock.now() < self._outage_until:
            return Fault(code="ServiceUnavailable", message="outage")
        return fault

    def _lag(self, fault: Fault) -> None:
        if fault.lag:
            self._clock.wait(threading.Event(), fault.lag)

    def _put(self, outgoing: Outgoing) -> None:
        check_limits(outgoing, self.max_bytes)
        with self._lock:
            now = self._clock.now()
            if self._fifo:
                if outgoing.group_id is None:
                    raise NodeFaultError("MissingParameter: The request must contain the parameter MessageGroupId.")
                key = outgoing.deduplication_id or outgoing.body
                if now - self._deduplication.get(key, float("-inf")) < DEDUPLICATION_SECONDS:
                    return
                self._deduplication[key] = now
            stored = _Stored(f"m{next(self._numbers)}", outgoing, now)
            self._messages[stored.id] = stored
            self._calls.append(QueueCall("send", now, (stored.id,)))
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, threading.Event()
        changed.set()

    def _hand_out(self, limit: int, asked_at: float, now: float) -> list[Message]:
        in_flight = sum(stored.visible_at > now for stored in self._messages.values())
        blocked = {
            stored.outgoing.group_id for stored in self._messages.values() if self._fifo and stored.visible_at > now
        }
        handed_out: list[Message] = []
        for stored in list(self._messages.values()):
            if len(handed_out) == limit or in_flight >= self._in_flight_limit:
                break
            if stored.visible_at > now or stored.outgoing.group_id in blocked:
                continue
            if self._max_receives is not None and stored.receive_count >= self._max_receives:
                self._redrive(stored)
                continue
            stored.receive_count += 1
            stored.received_at = now
            stored.visible_at = now + self._visibility_timeout
            stored.receipt = f"{stored.id}#{stored.receive_count}"
            in_flight += 1
            handed_out.append(
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
        if handed_out:
            self._calls.append(QueueCall("receive", now, tuple(message.id for message in handed_out)))
        return handed_out

    def _redrive(self, stored: _Stored) -> None:
        del self._messages[stored.id]
        if self.dead_letters is not None:
            self.dead_letters._put(stored.outgoing)  # noqa: SLF001 - the same class

    def _change(self, message: Message, seconds: int, now: float) -> tuple[str, str] | None:
        stored = self._messages.get(message.id)
        if stored is None or stored.receipt != message.receipt:
            return _STALE
        if now >= stored.received_at + CEILING_SECONDS:
            return _EXPIRED
        if stored.visible_at <= now:
            return _NOT_IN_FLIGHT
        if now + seconds > stored.received_at + CEILING_SECONDS:
            text = f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: {_BEYOND}"
            return "InvalidParameterValue", text
        stored.visible_at = now + seconds
        self._wake()
        return None

    def _remove(self, message: Message, _seconds: int, now: float) -> tuple[str, str] | None:
        stored = self._messages.get(message.id)
        if stored is None:
            return None
        newest = stored.receipt == message.receipt
        if now >= message.received_at + CEILING_SECONDS:
            return _EXPIRED
        if self._fifo and not (newest and stored.visible_at > now):
            return _STALE
        if newest:
            del self._messages[message.id]
        return None

    def _batches(
        self,
        operation: str,
        entries: list[tuple[Message, int]],
        apply: Callable[[Message, int, float], tuple[str, str] | None],
    ) -> BatchResult:
        """Applies requests of up to ten messages each."""
        done: set[str] = set()
        errors: dict[str, tuple[str, str]] = {}
        failed: dict[str, str] = {}
        unanswered: str | None = None
        for first in range(0, len(entries), BATCH):
            batch = entries[first : first + BATCH]
            fault = self._meet(operation)
            whole = fault.code is not None and fault.entries is None
            unanswered = f"{fault.code}: {fault.message}" if whole else unanswered
            with self._lock:
                now = self._clock.now()
                if not whole or fault.applied:
                    ids = tuple(message.id for message, _ in batch)
                    self._calls.append(QueueCall(operation, now, ids, tuple(seconds for _, seconds in batch)))
                for place, (message, seconds) in enumerate(batch):
                    hit = fault.code is not None and (fault.entries is None or place in fault.entries)
                    error = apply(message, seconds, now) if not hit or fault.applied else None
                    if whole:
                        failed[message.id] = f"{fault.code}: {fault.message}"
                    elif hit and fault.code is not None:
                        errors[message.id] = (fault.code, fault.message)
                    elif error is not None:
                        errors[message.id] = error
                    else:
                        done.add(message.id)
            self._lag(fault)
        judged = gather(done, errors)
        return BatchResult(judged.done, judged.refused, judged.beyond, {**judged.failed, **failed}, unanswered)
