# SPDX-License-Identifier: Apache-2.0
"""The queue and its dead-letter queue: whether they are there, may be used, and fit each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from sqscribe.urls import redact
from stages.refusals import code_name
from worker.aws import AwsClients
from worker.preflight.finding import Finding, Severity, ok, warning, wrong
from worker.preflight.refusals import Refused, refusal
from worker.queues.choice import FACTORIES
from worker.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

__all__ = ["check_queues"]

QUEUE, DEAD = "SQSCRIBE_QUEUE_URL", "SQSCRIBE_DEAD_LETTER_QUEUE_URL"
_DAY = 86_400
_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException"})
#: Delay that no queue takes (15 minutes is the most).
_NO_DELAY = 901
#: What a queue says to a request that it was about to do and that cannot be done.
_TAKEN = frozenset(
    {"InvalidParameterValue", "InvalidParameterValueException", "MissingParameter", "EmptyMessage"}
    | {"InvalidMessageContents", "ReadCountOutOfRange", "ValidationError", "MissingRequiredParameterException"}
)


@dataclass(frozen=True, slots=True)
class _Attributes:
    """Of a queue, as SQS tells them.

    Attributes:
        values: Empty where they may not be read.
    """

    url: str
    values: Mapping[str, str]

    @property
    def fifo(self) -> bool:
        return self.url.endswith(".fifo")

    def number(self, name: str) -> int | None:
        value = self.values.get(name)
        return int(value) if value is not None else None

    @property
    def redrive(self) -> Mapping[str, Any]:
        return dict(json.loads(self.values.get("RedrivePolicy") or "{}"))


def check_queues(settings: Settings, clients: AwsClients) -> Iterator[Finding]:
    """Looks at both; receives nothing and leaves no message."""
    if not settings.queue_url:
        return
    if fault := _shape(QUEUE, settings.queue_url):
        yield fault
        return
    with closing(clients.sqs(settings.queue_url)) as client:
        yield from _queues(settings, settings.queue_url, clients, client)


def _queues(settings: Settings, url: str, clients: AwsClients, client: SQSClient) -> Iterator[Finding]:
    try:
        queue = _ask(client, url)
    except Refused as error:
        yield refusal(QUEUE, f"looking at {url}", error, "sqs:GetQueueAttributes")
        return
    yield ok(QUEUE, f"{url} is there, {'FIFO' if queue.fifo else 'standard'}")
    yield from _receives(client, queue)
    yield from _times(settings, queue)
    yield from _dead_letters(settings, clients, client, queue)


def _shape(what: str, url: str) -> Finding | None:
    parts = urlsplit(url)
    if parts.scheme.lower() not in FACTORIES:
        known = " or ".join(f"{name}://" for name in FACTORIES)
        return wrong(what, f"{redact(url)!r} is no URL of a queue", f"copy the queue's URL, which begins with {known}")
    if not parts.hostname or not parts.path.strip("/") or any(letter.isspace() for letter in url):
        return wrong(
            what, f"{redact(url)!r} names no queue", "copy the whole URL: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"
        )
    return None


def _ask(client: SQSClient, url: str) -> _Attributes:
    answer: Any = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return _Attributes(url, dict(answer.get("Attributes", {})))


def _receives(client: SQSClient, queue: _Attributes) -> Iterator[Finding]:
    """Asks for no messages at all, which a queue refuses to whoever may receive, and forbids to others."""
    try:
        answer = client.receive_message(
            QueueUrl=queue.url, MaxNumberOfMessages=0, WaitTimeSeconds=0, VisibilityTimeout=0
        )
    except (ClientError, BotoCoreError) as error:
        if _taken(error):
            yield ok(QUEUE, "messages may be received")
        else:
            yield refusal(QUEUE, f"receiving from {queue.url}", error, "sqs:ReceiveMessage")
    else:
        if not answer.get("Messages"):
            yield ok(QUEUE, "messages may be received")


def _times(settings: Settings, queue: _Attributes) -> Iterator[Finding]:
    receives = int(queue.redrive.get("maxReceiveCount", 0))
    if receives == 1:
        yield warning(
            QUEUE,
            "its redrive policy has a maxReceiveCount of 1, so a job whose worker is killed is a dead letter",
            "set it to 3 or more",
        )
    if receives and settings.max_receives and settings.max_receives > receives:
        yield warning(
            "SQSCRIBE_MAX_RECEIVES",
            f"{settings.max_receives} is above the queue's own maxReceiveCount of {receives}, which comes first",
            "leave it unset: the queue's is taken",
        )
    kept = queue.number("MessageRetentionPeriod")
    if kept is not None and kept < _DAY:
        yield warning(
            QUEUE,
            f"it forgets messages after {kept} s, done or not",
            "raise its MessageRetentionPeriod: 14 days are possible",
        )


def _dead_letters(settings: Settings, clients: AwsClients, client: SQSClient, queue: _Attributes) -> Iterator[Finding]:
    url = settings.dead_letter_queue_url
    if url and (fault := _shape(DEAD, url)):
        yield fault
        return
    try:
        url = url or _target(client, queue)
    except Refused as error:
        yield refusal(DEAD, f"finding the redrive target of {queue.url}", error, "sqs:GetQueueUrl")
        return
    if not url:
        yield warning(
            DEAD,
            "there is no dead-letter queue: a message that fails for good is deleted, and only its result tells of it",
            "give the queue a redrive policy, or set the URL of a queue",
        )
        return
    if url == queue.url:
        yield wrong(DEAD, "it is the queue itself, so that what fails comes back for ever", "name another queue")
        return
    with closing(clients.sqs(url)) as other:
        yield from _dead_letter_queue(other, url, queue)


def _target(client: SQSClient, queue: _Attributes) -> str | None:
    arn = str(queue.redrive.get("deadLetterTargetArn") or "")
    if not arn:
        return None
    *_, account, name = arn.split(":")
    try:
        return client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
    except ClientError as error:
        if _forbidden(error):
            return f"{queue.url.rsplit('/', 2)[0]}/{account}/{name}"  # a neighbour's URL is no secret
        raise


def _dead_letter_queue(client: SQSClient, url: str, queue: _Attributes) -> Iterator[Finding]:
    try:
        dead = _ask(client, url)
    except Refused as error:
        hidden = refusal(DEAD, f"looking at {url}", error, "sqs:GetQueueAttributes")
        if not _forbidden(error):
            yield hidden
            return
        dead = _Attributes(url, {})  # a worker can do without
        yield Finding(DEAD, "its limits may not be read and were not compared", hidden.remedy, Severity.SKIPPED)
    if fault := _may_not_send(client, url):
        yield fault
        return
    yield ok(DEAD, f"{url} is there and may be sent to")
    if dead.fifo and not queue.fifo:
        yield wrong(
            DEAD,
            "it is a FIFO queue and the queue is a standard one, whose messages have no group: none could be sent",
            "name a standard queue",
        )
    for name, what in (
        ("MaximumMessageSize", "messages of up to {} bytes"),
        ("MessageRetentionPeriod", "them for {} s"),
    ):
        here, there = queue.number(name), dead.number(name)
        if here is not None and there is not None and there < here:
            yield warning(
                DEAD,
                f"it keeps {what.format(there)}, and the queue {what.format(here)}",
                f"raise its {name} to the queue's",
            )


def _may_not_send(client: SQSClient, url: str) -> Finding | None:
    """Sends what no queue takes: who may send is told what is wrong with it, and others that they may not.

    Three things are wrong with it, as emulators overlook one or the other.
    """
    request: dict[str, Any] = {
        "MessageBody": "",
        "DelaySeconds": _NO_DELAY,
        "MessageAttributes": {"preflight": {"DataType": "None", "StringValue": "-"}},
    }
    if url.endswith(".fifo"):
        request |= {"MessageGroupId": "preflight", "MessageDeduplicationId": "preflight"}
    try:
        client.send_message(QueueUrl=url, **request)
    except Refused as error:
        return None if _taken(error) else refusal(DEAD, f"sending to {url}", error, "sqs:SendMessage")
    return warning(DEAD, f"{url} took an empty message that no queue should take", "delete that message")


def _forbidden(error: Exception) -> bool:
    return isinstance(error, ClientError) and code_name(str(error.response["Error"].get("Code"))) in _FORBIDDEN


def _taken(error: Exception) -> bool:
    return isinstance(error, ClientError) and code_name(str(error.response["Error"].get("Code", ""))) in _TAKEN
