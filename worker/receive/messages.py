# SPDX-License-Identifier: Apache-2.0
"""Reads the jobs of a message's body: a JSON job, a bare URL, or an S3 event, which may be wrapped in another."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqscribe.errors import ErrorCode, PermanentCode, PermanentError
from sqscribe.job import Job, JobDefaults, JobMessageError, JobRef
from sqscribe.job_message import parse_job
from sqscribe.message_faults import shown
from sqscribe.message_text import BLANKS, MessageTextError, read_fields
from sqscribe.sources import source_bucket
from sqscribe.urls import split_s3
from worker.receive.own_results import is_result
from worker.receive.s3_events import CreatedObject, created_object, is_s3_event, is_test_event, newest, records_of

__all__ = ["MessageParser", "Parsed", "Rejected"]

#: Records of one message. S3 sends one, and who gathers events some tens. All jobs of a message are one worker's
#: under one lease, and each is looked up again whenever the message comes back; a thousand still end within its 12 h.
MOST_RECORDS = 1000
#: Records that are refused one by one. Each costs a result and a dead letter, so more of them are refused together:
#: a message of rubbish is done with in a second.
MOST_REFUSED = 20

_BARE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:\S")
_SNS_CONFIRMATIONS = ("SubscriptionConfirmation", "UnsubscribeConfirmation")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message, or one record of it, that can never become a job.

    Attributes:
        ref: Where its failure is recorded.
        body: What the dead-letter queue gets: the message's own body, or one that holds only this record.
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
        skipped: Records that are no job on purpose: test events, folders, empty objects, workers' results, events of
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

    Raises:
        ValueError: The defaults name no output.
    """

    def __init__(self, defaults: JobDefaults, allowed_buckets: Collection[str] | None = None) -> None:
        if defaults.output is None:
            raise ValueError("a worker needs a default output")
        self._defaults = defaults
        self.output = defaults.output
        self._allowed = None if allowed_buckets is None else frozenset(allowed_buckets)
        self._own = f"{self.output.rstrip('/')}/"

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
        if job.output != self.output and not self._may_use(_bucket(job.output)):
            raise _refused(job, ErrorCode.OUTPUT_FORBIDDEN, "output: this worker may not write to", _bucket(job.output))
        bucket = source_bucket(job.source)
        if bucket is not None and not self._may_use(bucket):
            raise _refused(job, ErrorCode.SOURCE_BLOCKED, "source: this worker may not read from", bucket)
        return job

    def ref(self, error: JobMessageError, fallback_id: str) -> JobRef:
        """Where a refused message's failure is recorded."""
        output = error.output if error.output and self._may_use(_bucket(error.output)) else self.output
        return JobRef(error.job_id or fallback_id, output, error.source, error.metadata)

    def skips(self, item: CreatedObject) -> bool:
        """Whether a created object is no job: a folder's mark, an empty object, a worker's result."""
        key = item.address.key
        return key.endswith("/") or item.size == 0 or str(item.address).startswith(self._own) or is_result(key)

    def _may_use(self, bucket: str) -> bool:
        return self._allowed is None or bucket in self._allowed


@dataclass(slots=True)
class _Reading:
    """A body that is being read; a failure of the whole message is recorded with `body` and `fallback_id`."""

    rules: MessageParser
    body: str
    fallback_id: str
    jobs: dict[str, Job] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    skipped: int = 0

    def parsed(self) -> Parsed:
        self._read(self.body)
        return Parsed(tuple(self.jobs.values()), tuple(self.rejected), self.skipped)

    def _read(self, text: str, envelope: str = "") -> None:
        """Reads a body, or what is in its `envelope`."""
        bare = text.strip(BLANKS)
        if _BARE_URL.match(bare):
            if all(map(_BARE_URL.match, bare.splitlines()[1:] or [""])):
                self._refuse(f"{envelope}holds several URLs; send each as a message of its own")
            else:
                self._only({"source": bare})
            return
        try:
            fields = read_fields(text)
        except MessageTextError as error:
            self._refuse(f"{envelope}{error}")
            return
        content = fields.content
        if is_test_event(content):
            self.skipped += 1
        elif is_s3_event(content):
            self._event(records_of(content))
        elif not envelope and content.get("Type") == "Notification" and isinstance(content.get("Message"), str):
            self._read(content["Message"], "is an SNS envelope, and its Message ")
        elif content.get("Type") in _SNS_CONFIRMATIONS:
            self._refuse("asks to confirm an SNS subscription; open its SubscribeURL, or confirm it in SNS")
        elif fields.twice is not None:
            self._refuse(f"has the field {shown(fields.twice)} twice; leave one of them out")
        else:
            self._only(content)

    def _event(self, records: list[Any]) -> None:
        if not records:
            self._refuse("is an S3 event without records")
        if len(records) > MOST_RECORDS:
            self._refuse(f"has {len(records)} records; at most {MOST_RECORDS} are taken: send several messages")
            return
        single = len(records) == 1
        objects: dict[int, CreatedObject] = {}
        refused: dict[int, Rejected] = {}
        for index, record in enumerate(records):
            try:
                item = created_object(record)
            except ValueError as error:
                what = "the S3 event cannot be read" if single else f"record {index} of the S3 event cannot be read"
                refused[index] = self._bad(f"{what}: {error}", self._body_of(record), self._id(index, single=single))
                continue
            if item is None or self.rules.skips(item):
                self.skipped += 1
            else:
                objects[index] = item
        latest = newest(objects)
        self.skipped += len(objects) - len(latest)
        for index, item in latest.items():
            message = item.message()
            rejected = self._job(message, json.dumps(message), self._id(index, single=single))
            if rejected:
                refused[index] = rejected
        self.rejected.extend(self._few(refused, records))

    def _few(self, refused: Mapping[int, Rejected], records: Sequence[Any]) -> Collection[Rejected]:
        """The refused records one by one, or all of them together where that would be many results and dead letters."""
        if len(refused) <= MOST_REFUSED:
            return refused.values()
        first, codes = next(iter(refused.values())), {rejected.error.code for rejected in refused.values()}
        text = f"{len(refused)} of {len(records)} records are refused, and recorded together; {first.error.message}"
        error = PermanentError(codes.pop() if len(codes) == 1 else ErrorCode.BAD_MESSAGE, text)
        body = json.dumps({"Records": [records[index] for index in sorted(refused)]}) if self.jobs else self.body
        return [Rejected(JobRef(self.fallback_id, self.rules.output), error, body)]

    def _only(self, message: dict[str, Any]) -> None:
        """The message is one job."""
        rejected = self._job(message, self.body, self.fallback_id)
        if rejected:
            self.rejected.append(rejected)

    def _job(self, message: dict[str, Any], body: str, fallback_id: str) -> Rejected | None:
        try:
            job = self.rules.job(message)
        except JobMessageError as error:
            return Rejected(self.rules.ref(error, fallback_id), error, body)
        if job.job_id in self.jobs:
            self.skipped += 1
        self.jobs.setdefault(job.job_id, job)
        return None

    def _refuse(self, why: str) -> None:
        """Nothing of the message can be used."""
        self.rejected.append(self._bad(f"the message {why}", self.body, self.fallback_id))

    def _bad(self, text: str, body: str, fallback_id: str) -> Rejected:
        error = PermanentError(ErrorCode.BAD_MESSAGE, text)
        return Rejected(JobRef(fallback_id, self.rules.output), error, body)

    def _body_of(self, record: Any) -> str:
        try:
            return json.dumps({"Records": [record]})
        except RecursionError:
            return self.body

    def _id(self, index: int, *, single: bool) -> str:
        return self.fallback_id if single else f"{self.fallback_id}-{index}"


def _bucket(output: str) -> str:
    return split_s3(output).bucket


def _refused(job: Job, code: PermanentCode, what: str, bucket: str) -> JobMessageError:
    text = f"{what} bucket {bucket!r}; SQSCRIBE_ALLOWED_BUCKETS lists those that it may use"
    return JobMessageError(code, text, job_id=job.job_id, output=job.output, source=job.source, metadata=job.metadata)
