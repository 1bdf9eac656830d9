# SPDX-License-Identifier: Apache-2.0
"""Checks an access log against the rules that hold whatever goes wrong.

`result.json` is the last write of a job and confirms its result, so everything is judged at the moments of its writes
and of the deletes of messages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.testing.faults.access_log import Access, Entry

__all__ = ["Audit", "SentMessage", "Violation"]

_RESULT = "/result.json"
_MASTER = "/transcript.json"
#: How long after a caller was told that its lease is lost a write may still arrive that it had begun before.
_WRITE_UNDER_WAY_SECONDS = 1.0
#: The code that refuses a receipt from before the last receive.
_STALE = "ReceiptHandleIsInvalid"
#: Attributes that a fresh copy of a message has.
_ORIGIN, _GENERATION = "sqscribe_origin", "sqscribe_generation"


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message as its sender knows it.

    Attributes:
        jobs: `bucket/prefix/<job id>` of each of its jobs.
        dead_bodies: For each of them, what a dead letter about it may hold.
    """

    jobs: tuple[str, ...]
    dead_bodies: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken, by which call of the log, and how."""

    rule: str
    number: int
    text: str


@dataclass(slots=True, eq=False)
class _Message:
    caller: str = ""
    hidden_until: float = 0.0
    delivered: bool = True


class Audit:
    """Reads a log once, and finds the rules that were broken.

    Args:
        messages: By id, those that were sent past the proxy.
        dead_letter_queues: Names of the queues that dead letters go to.
        ends: Unix time at which a caller's process ended of its own accord: it must hold no message then.

    Attributes:
        violations: What was found.
        results: The last succeeded `result.json` of each job.
        masters: Digests of the masters that results of a job named: more than one are two different results.
        receives: How often each message was received.
        faults: Calls by what went wrong with them.
        calls: Calls in all.
        stale_deletes: Deletes with a receipt that no longer counted.
        refusals: Renewals and releases that were refused.
        copies: Fresh copies that were sent.
    """

    def __init__(
        self,
        messages: Mapping[str, SentMessage],
        dead_letter_queues: Iterable[str],
        ends: Mapping[str, float] | None = None,
    ) -> None:
        self.violations: list[Violation] = []
        self.results: dict[str, Mapping[str, Any]] = {}
        self.masters: dict[str, set[str]] = defaultdict(set)
        self.receives: dict[str, int] = defaultdict(int)
        self.faults: dict[str, int] = defaultdict(int)
        self.calls = 0
        self.stale_deletes = 0
        self.refusals = 0
        self.copies = 0
        self._messages = dict(messages)
        self._dead_letter_queues = frozenset(dead_letter_queues)
        self._ends = dict(ends or {})
        self._generations: dict[str, int] = {}  # of messages that are copies
        self._origins: dict[str, str] = {}
        self._newest: dict[tuple[str, str], int] = {}  # generation sent, by origin and job
        self._objects: dict[str, tuple[str, int]] = {}  # digest, and number of the write
        self._failed: dict[str, Mapping[str, Any]] = {}
        self._final: dict[str, str] = {}  # digest of each object that a final result names, itself included
        self._dead_letters: set[str] = set()
        self._held: dict[str, _Message] = defaultdict(_Message)
        self._refused: dict[tuple[str, str], float] = {}  # by caller and message: when it was told
        self._jobs: dict[str, set[str]] = defaultdict(set)  # messages of a job
        for message_id, sent in self._messages.items():
            for job in sent.jobs:
                self._jobs[job].add(message_id)

    def run(self, log: Iterable[Access]) -> None:
        """Reads the log."""
        for access in log:
            self.calls += 1
            if access.fault:
                self.faults[access.fault] += 1
            self._check_ends(access.ended)
            if not access.done:
                continue
            match access.operation:
                case "PutObject":
                    self._put(access)
                case "DeleteObject":
                    self._remove(access)
                case "ReceiveMessage":
                    self._receive(access)
                case "ChangeMessageVisibilityBatch":
                    self._change(access)
                case "DeleteMessageBatch":
                    self._delete(access)
                case "SendMessage":
                    self._send(access)
                case _:
                    pass  # calls that promise nothing
        self._check_ends(float("inf"))

    # -- objects ---------------------------------------------------------------------------------------------------

    def _put(self, access: Access) -> None:
        key, digest = access.resource, access.sha256 or ""
        self._check_lease(access)
        if self._final.get(key, digest) != digest or (key in self._final and key.endswith(_RESULT)):
            self._report("final_changed", access, f"{key} belongs to a final result and was written again")
        if key.endswith((_RESULT, _MASTER)) and access.condition is None:
            self._report("unconditional", access, f"{key} was written on no condition")
        self._objects[key] = (digest, access.number)
        if key.endswith(_RESULT):
            self._conclude(access, key.removesuffix(_RESULT))

    def _conclude(self, access: Access, job: str) -> None:
        result = json.loads(access.body or "{}")
        if result["status"] != "succeeded":
            self._failed[job] = result
            return
        bucket = job.partition("/")[0]
        for artifact in result["artifacts"]:
            key = f"{bucket}/{artifact['key']}"
            digest, _ = self._objects.get(key, ("nothing", 0))
            if digest != artifact["sha256"]:
                self._report("incomplete", access, f"{key} is named with {artifact['sha256']}, the store has {digest}")
            self._final[key] = artifact["sha256"]
            if key.endswith(_MASTER):
                self.masters[job].add(artifact["sha256"])
        if not any(f"{bucket}/{artifact['key']}" == job + _MASTER for artifact in result["artifacts"]):
            self._report("incomplete", access, f"{job} names no master")
        self._final[access.resource] = access.sha256 or ""
        self.results[job] = result
        self._failed.pop(job, None)

    def _remove(self, access: Access) -> None:
        if access.resource in self._final:
            self._report("final_changed", access, f"{access.resource} belongs to a final result and was removed")
        self._objects.pop(access.resource, None)

    def _check_lease(self, access: Access) -> None:
        """No write is started by one who was told that the lease is lost."""
        for job in self._job_of(access.resource):
            told = [self._refused.get((access.caller, message)) for message in self._jobs[job]]
            if told and all(each is not None and access.began > each + _WRITE_UNDER_WAY_SECONDS for each in told):
                self._report("write_without_lease", access, f"{access.caller} wrote {access.resource}")

    def _job_of(self, key: str) -> list[str]:
        parts = key.split("/")
        return [job for end in range(2, len(parts)) if (job := "/".join(parts[:end])) in self._jobs]

    # -- messages --------------------------------------------------------------------------------------------------

    def _receive(self, access: Access) -> None:
        for entry in access.entries:
            if entry.id is None:
                continue
            self.receives[entry.id] += 1
            hidden_until = access.ended + (entry.seconds or 0)
            self._held[entry.id] = _Message(access.caller, hidden_until, delivered=access.answered)
            self._refused.pop((access.caller, entry.id), None)

    def _change(self, access: Access) -> None:
        for entry in access.entries:
            if entry.id is None:
                continue
            mine = self._held[entry.id].caller == access.caller
            if entry.code is not None:
                self.refusals += 1
                # Of a receipt from before the caller received the message again, nothing follows.
                if access.answered and not (mine and entry.code == _STALE):
                    self._refused.setdefault((access.caller, entry.id), access.ended)
            elif mine:
                self._held[entry.id].hidden_until = access.ended + (entry.seconds or 0)

    def _delete(self, access: Access) -> None:
        for entry in access.entries:
            if entry.stale:
                self.stale_deletes += 1
            elif entry.id is not None and entry.code is None:
                self._held.pop(entry.id, None)
                self._check_delete(access, entry)

    def _check_delete(self, access: Access, entry: Entry) -> None:
        message = entry.id or ""
        origin, generation = self._origins.get(message, message), self._generations.get(message, 0)
        sent = self._messages.get(message)
        if sent is None:
            self._report("unknown_message", access, f"message {message} was sent by nobody")
            return
        for job in sent.jobs:
            if job in self.results or self._newest.get((origin, job), 0) > generation:
                continue  # it is done, or goes on in a fresh copy
            if job not in self._failed:
                self._report("deleted_before_result", access, f"{job} had no result when message {message} went")
            elif self._dead_letter_queues and not sent.dead_bodies.get(job, frozenset()) & self._dead_letters:
                self._report("deleted_before_dead_letter", access, f"{job} failed, and no dead letter tells of it")

    def _send(self, access: Access) -> None:
        if access.resource in self._dead_letter_queues:
            self._dead_letters.add(access.body or "")
            return
        origin = access.attributes.get(_ORIGIN)
        for entry in access.entries:
            if origin is None or origin not in self._messages or entry.id is None:
                self._report("unknown_message", access, f"{access.caller} sent a message that is no copy of another")
                continue
            generation = int(access.attributes.get(_GENERATION, "0"))
            sent = self._messages[origin]
            copied = SentMessage(_copied(sent.jobs, access.body or ""), sent.dead_bodies)
            self.copies += 1
            self._messages[entry.id] = copied
            self._origins[entry.id], self._generations[entry.id] = origin, generation
            for job in copied.jobs:
                self._newest[origin, job] = max(generation, self._newest.get((origin, job), 0))
                self._jobs[job].add(entry.id)

    def _check_ends(self, now: float) -> None:
        """A worker that ended of its own accord has made everything visible again."""
        for caller, end in list(self._ends.items()):
            if now < end:
                continue
            del self._ends[caller]
            held = [
                message_id
                for message_id, message in self._held.items()
                if message.caller == caller and message.delivered and message.hidden_until > end
            ]
            if held:
                self.violations.append(
                    Violation("held_after_end", 0, f"{caller} ended and kept {len(held)} messages hidden: {held[0]}")
                )

    def _report(self, rule: str, access: Access, text: str) -> None:
        self.violations.append(Violation(rule, access.number, text))


def _copied(jobs: tuple[str, ...], body: str) -> tuple[str, ...]:
    """The jobs that a copy holds: of a message with several, the one that its body names."""
    try:
        content = json.loads(body)
    except ValueError:
        return jobs
    name = content.get("job_id") if isinstance(content, dict) else None
    return tuple(job for job in jobs if name is None or job.rpartition("/")[2] == name)
