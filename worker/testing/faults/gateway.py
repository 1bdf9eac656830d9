# SPDX-License-Identifier: Apache-2.0
"""Passes calls on to the emulator, one at a time where the order counts, and writes down what they did.

moto has no locks, and takes any receipt that a message ever had. So changes to a queue, and writes of the same key, go
through here one after another, and receipts are checked here.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from worker.testing.faults.access_log import AccessLog, Entry
from worker.testing.faults.call_fault import CallFault
from worker.testing.faults.calls import Call
from worker.testing.faults.receipts import Receipts

__all__ = ["EmulatorAnswer", "Gateway"]

#: Seconds after which a long poll looks again, for messages that time alone has made visible.
_LOOK_AGAIN_SECONDS = 0.4
#: The end of keys whose body the log keeps.
_RESULT = "/result.json"


class EmulatorAnswer(NamedTuple):
    """An answer of the emulator; header names as they came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the call had its effect."""
        return self.status < 300

    def json(self) -> Any:
        """The body of an SQS answer, read as JSON."""
        return json.loads(self.body)

    def with_json(self, body: Mapping[str, Any]) -> EmulatorAnswer:
        """The same answer with another body."""
        return self._replace(body=json.dumps(body).encode())


@dataclass(slots=True, eq=False)
class _Queue:
    changed: threading.Condition = field(default_factory=threading.Condition)  # guards receipts, and the queue itself
    receipts: Receipts = field(default_factory=Receipts)


class Gateway:
    """Stands between the proxy and the emulator, and does what SQS does and the emulator does not. Thread-safe.

    Args:
        upstream: Sends a call with another body to the emulator.
        log: Where calls are written down.
    """

    def __init__(self, upstream: Callable[[Call, bytes], EmulatorAnswer], log: AccessLog) -> None:
        self._upstream = upstream
        self._log = log
        self._lock = threading.Lock()  # guards the two below; not what they hold
        self._queues: dict[str, _Queue] = defaultdict(_Queue)
        self._keys: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def take(self, call: Call, began: float, fault: CallFault | None) -> EmulatorAnswer:
        """Makes a call and writes it down.

        Args:
            call: The call as it came.
            began: Unix time at which it arrived.
            fault: What will go wrong with its answer; None when nothing will.
        """
        note = self._note(call, began, fault)
        match call.operation:
            case "ReceiveMessage":
                return self._receive(call, note)
            case "ChangeMessageVisibilityBatch":
                return self._change(call, note)
            case "DeleteMessageBatch":
                return self._delete(call, note)
            case "SendMessage":
                return self._send(call, note)
            case "PutObject" | "DeleteObject":
                return self._write(call, note)
            case _:
                answer = self._upstream(call, call.body)
                note(answer)
                return answer

    def turn_away(self, call: Call, began: float, fault: CallFault) -> None:
        """Writes down a call that never gets to the emulator."""
        self._note(call, began, fault)(None)

    def _note(self, call: Call, began: float, fault: CallFault | None) -> Callable[..., None]:
        """A function that writes the call down once its answer is known."""

        def note(answer: EmulatorAnswer | None, **facts: Any) -> None:
            self._log.write(
                began=began,
                ended=time.time(),
                caller=call.caller,
                operation=call.operation,
                resource=call.resource,
                status=answer.status if answer else None,
                fault=fault.kind.value if fault else None,
                answered=answer is not None and not (fault is not None and fault.after),
                condition=call.condition,
                **facts,
            )

        return note

    def _queue(self, call: Call) -> _Queue:
        with self._lock:
            return self._queues[call.resource]

    # -- queues ----------------------------------------------------------------------------------------------------

    def _receive(self, call: Call, note: Callable[..., None]) -> EmulatorAnswer:
        end = time.monotonic() + float(call.parameters.get("WaitTimeSeconds", 0))
        hidden = int(call.parameters["VisibilityTimeout"])
        # A poll that waits behind the proxy would bring messages before the proxy knows of it.
        names = ["All", *call.parameters.get("MessageSystemAttributeNames", ())]
        short = {**call.parameters, "WaitTimeSeconds": 0, "MessageSystemAttributeNames": names}
        queue = self._queue(call)
        with queue.changed:
            while True:
                asked = time.monotonic()
                answer = self._upstream(call, json.dumps(short).encode())
                messages = answer.json().get("Messages", []) if answer.ok else []
                left = end - time.monotonic()
                if messages or left <= 0 or not answer.ok:
                    break
                queue.changed.wait(min(left, _LOOK_AGAIN_SECONDS))
            for message in messages:
                queue.receipts.received(message["MessageId"], message["ReceiptHandle"], asked + hidden)
            entries = tuple(
                Entry(
                    message["MessageId"],
                    seconds=hidden,
                    count=int(message["Attributes"]["ApproximateReceiveCount"]),
                )
                for message in messages
            )
            note(answer, entries=entries)
        return answer

    def _change(self, call: Call, note: Callable[..., None]) -> EmulatorAnswer:
        queue = self._queue(call)
        with queue.changed:
            now = time.monotonic()
            refused = {
                entry["Id"]: refusal
                for entry in call.parameters["Entries"]
                if (refusal := queue.receipts.refusal(entry["ReceiptHandle"], now))
            }
            answer = self._forward(call, set(refused), {})
            failed = {entry["Id"]: (entry["Code"], entry.get("Message", "")) for entry in answer.json()["Failed"]}
            entries = []
            for entry in call.parameters["Entries"]:
                seconds = int(entry["VisibilityTimeout"])
                code = (refused | failed).get(entry["Id"], (None,))[0]
                if code is None:
                    queue.receipts.changed(entry["ReceiptHandle"], now + seconds)
                entries.append(Entry(queue.receipts.message(entry["ReceiptHandle"]), code, seconds=seconds))
            answer = _with_failed(answer, refused)
            note(answer, entries=tuple(entries))
            queue.changed.notify_all()
        return answer

    def _delete(self, call: Call, note: Callable[..., None]) -> EmulatorAnswer:
        queue = self._queue(call)
        with queue.changed:
            stale = {
                entry["Id"]: entry
                for entry in call.parameters["Entries"]
                if not queue.receipts.deletes(entry["ReceiptHandle"])
            }
            answer = self._forward(call, set(stale), stale)
            failed = {entry["Id"]: entry["Code"] for entry in answer.json()["Failed"]}
            entries = []
            for entry in call.parameters["Entries"]:
                code = failed.get(entry["Id"])
                if code is None:
                    queue.receipts.deleted(entry["ReceiptHandle"])
                message = queue.receipts.message(entry["ReceiptHandle"])
                entries.append(Entry(message, code, stale=entry["Id"] in stale))
            note(answer, entries=tuple(entries))
        return answer

    def _forward(self, call: Call, without: set[str], granted: Mapping[str, Any]) -> EmulatorAnswer:
        """Makes a batch call without some of its entries, of which `granted` are answered with success."""
        entries = [entry for entry in call.parameters["Entries"] if entry["Id"] not in without]
        successful = [{"Id": name} for name in granted]
        answer = EmulatorAnswer(200, (("Content-Type", "application/x-amz-json-1.0"),), b"{}")
        if entries:
            answer = self._upstream(call, json.dumps({**call.parameters, "Entries": entries}).encode())
            if not answer.ok:
                raise RuntimeError(f"the emulator refused {call.operation}: {answer.body!r}")
        body = answer.json()
        return answer.with_json(
            {"Successful": [*body.get("Successful", []), *successful], "Failed": body.get("Failed", [])}
        )

    def _send(self, call: Call, note: Callable[..., None]) -> EmulatorAnswer:
        queue = self._queue(call)
        attributes = {
            name: value["StringValue"]
            for name, value in call.parameters.get("MessageAttributes", {}).items()
            if "StringValue" in value
        }
        with queue.changed:
            answer = self._upstream(call, call.body)
            entries = (Entry(answer.json()["MessageId"]),) if answer.ok else ()
            note(answer, body=call.parameters["MessageBody"], attributes=attributes, entries=entries)
            queue.changed.notify_all()
        return answer

    # -- objects ---------------------------------------------------------------------------------------------------

    def _write(self, call: Call, note: Callable[..., None]) -> EmulatorAnswer:
        with self._lock:
            key = self._keys[call.resource]
        with key:
            answer = self._upstream(call, call.body)
            put = call.operation == "PutObject"
            note(
                answer,
                sha256=hashlib.sha256(call.body).hexdigest() if put else None,
                body=call.body.decode() if put and call.resource.endswith(_RESULT) else None,
            )
        return answer


def _with_failed(answer: EmulatorAnswer, refused: Mapping[str, tuple[str, str]]) -> EmulatorAnswer:
    body = answer.json()
    mine = [{"Id": name, "SenderFault": True, "Code": code, "Message": text} for name, (code, text) in refused.items()]
    return answer.with_json({**body, "Failed": [*body["Failed"], *mine]})
