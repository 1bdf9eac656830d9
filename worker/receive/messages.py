# SPDX-License-Identifier: Apache-2.0
"""From a message's body to its jobs: a JSON job, a bare URL, or an S3 event in any of its wrappings."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NoReturn

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.job import Job, JobDefaults, JobMessageError, JobRef
from sqscribe.job_message import parse_job
from sqscribe.urls import split_s3
from worker.receive.s3_events import CreatedObject, created_object, is_s3_event, is_test_event, newest, records_of

__all__ = ["MessageParser", "Parsed", "Rejected"]

_BARE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:\S")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message, or one record of it, that can never become a job.

    Attributes:
        ref: Where its failure is recorded.
        body: What the dead-letter queue gets: the message's own body, or one that holds this record alone.
    """

    ref: JobRef
    error: PermanentError
    body: str

    @property
    def job_id(self) -> str:
        """Its own id, or `message-<MessageId>`."""
        return self.ref.job_id


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one message holds.

    Attributes:
        jobs: Each id once.
        rejected: What fails for good.
        skipped: Records that are no job on purpose: test events, folders, empty objects, our own results, events of
            other kinds, and objects that a later record overwrote.
    """

    jobs: tuple[Job, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    skipped: int = 0


class MessageParser:
    """Reads message bodies. Holds settings only; thread-safe.

    Args:
        defaults: For what a message does not say; its `output` must be set.
        allowed_buckets: Those that a message may read from and name as its output; None for any. The default output
            is always allowed.
        output_prefixes: `s3://bucket/prefix` addresses, besides the default output, below which created objects are
            results and no jobs.

    Raises:
        ValueError: The defaults name no output.
    """

    def __init__(
        self,
        defaults: JobDefaults,
        allowed_buckets: Collection[str] | None = None,
        output_prefixes: Collection[str] = (),
    ) -> None:
        if defaults.output is None:
            raise ValueError("a worker needs a default output")
        self._defaults = defaults
        self.output = defaults.output
        self._allowed = None if allowed_buckets is None else frozenset(allowed_buckets)
        self._own = tuple(f"{prefix.rstrip('/')}/" for prefix in (self.output, *output_prefixes))

    def parse(self, body: str, message_id: str) -> Parsed:
        """Reads a message's body. Never raises: what cannot be read is among the rejected.

        Args:
            body: As the queue delivered it.
            message_id: The queue's id, for what has no id of its own.
        """
        return _Reading(self, body, f"message-{message_id}").parsed()

    def job(self, message: dict[str, Any]) -> Job:
        """One job message's job.

        Raises:
            JobMessageError: It is not valid, or names a bucket that is not allowed.
        """
        job = parse_job(message, self._defaults)
        if job.output != self.output and not self._may_use(job.output):
            raise _refused(job, ErrorCode.OUTPUT_FORBIDDEN, "output: this worker may not write to", job.output)
        if job.source.startswith("s3://") and not self._may_use(job.source):
            raise _refused(job, ErrorCode.SOURCE_BLOCKED, "source: this worker may not read from", job.source)
        return job

    def ref(self, error: JobMessageError, fallback_id: str) -> JobRef:
        """Where a refused message's failure is recorded."""
        output = error.output if error.output and self._may_use(error.output) else self.output
        return JobRef(error.job_id or fallback_id, output, error.source, error.metadata)

    def skips(self, item: CreatedObject) -> bool:
        """Whether a created object is no job: a folder's mark, an empty object, one of our own results."""
        return item.address.key.endswith("/") or item.size == 0 or str(item.address).startswith(self._own)

    def _may_use(self, url: str) -> bool:
        return self._allowed is None or split_s3(url).bucket in self._allowed


@dataclass(slots=True)
class _Reading:
    """One body under way. `body` and `fallback_id` are what a failure of the whole message is recorded with."""

    rules: MessageParser
    body: str
    fallback_id: str
    jobs: dict[str, Job] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    skipped: int = 0

    def parsed(self) -> Parsed:
        self._read(self.body, wrapped=False)
        return Parsed(tuple(self.jobs.values()), tuple(self.rejected), self.skipped)

    def _read(self, text: str, *, wrapped: bool) -> None:
        text = text.strip("\ufeff \t\r\n")
        if _BARE_URL.match(text):
            self._job({"source": text}, self.body, self.fallback_id)
            return
        try:
            content = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            self._unreadable("is neither a JSON object nor a URL", self.body, self.fallback_id)
            return
        if not isinstance(content, dict):
            self._unreadable("is JSON, but not an object", self.body, self.fallback_id)
        elif is_test_event(content):
            self.skipped += 1
        elif is_s3_event(content):
            self._event(records_of(content))
        elif not wrapped and content.get("Type") == "Notification" and isinstance(content.get("Message"), str):
            self._read(content["Message"], wrapped=True)  # an SNS envelope
        else:
            self._job(content, self.body, self.fallback_id)

    def _event(self, records: list[Any]) -> None:
        if not records:
            self._unreadable("is an S3 event without records", self.body, self.fallback_id)
        alone = len(records) == 1
        objects: dict[int, CreatedObject] = {}
        for index, record in enumerate(records):
            try:
                item = created_object(record)
            except ValueError as error:
                self._unreadable(f"cannot be read: {error}", self._alone(record), self._record_id(index, alone=alone))
                continue
            if item is None or self.rules.skips(item):
                self.skipped += 1
            else:
                objects[index] = item
        latest = newest(objects)
        self.skipped += len(objects) - len(latest)
        for index, item in latest.items():
            message = item.message()
            self._job(message, json.dumps(message), self._record_id(index, alone=alone))

    def _job(self, message: dict[str, Any], body: str, fallback_id: str) -> None:
        try:
            job = self.rules.job(message)
        except JobMessageError as error:
            self.rejected.append(Rejected(self.rules.ref(error, fallback_id), error, body))
            return
        if job.job_id in self.jobs:
            self.skipped += 1
        self.jobs.setdefault(job.job_id, job)

    def _unreadable(self, why: str, body: str, fallback_id: str) -> None:
        error = PermanentError(ErrorCode.BAD_MESSAGE, f"the message {why}")
        self.rejected.append(Rejected(JobRef(fallback_id, self.rules.output), error, body))

    def _alone(self, record: Any) -> str:
        try:
            return json.dumps({"Records": [record]})
        except RecursionError:
            return self.body

    def _record_id(self, index: int, *, alone: bool) -> str:
        return self.fallback_id if alone else f"{self.fallback_id}-{index}"


def _refused(job: Job, code: ErrorCode, what: str, url: str) -> JobMessageError:
    text = f"{what} bucket {split_s3(url).bucket!r}; SQSCRIBE_ALLOWED_BUCKETS lists those that it may use"
    return JobMessageError(code, text, job_id=job.job_id, output=job.output, source=job.source, metadata=job.metadata)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
