# SPDX-License-Identifier: Apache-2.0
"""Amazon SQS, and what speaks its protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from sqscribe.errors import MessageRefusedError, NodeFaultError, SettingsFaultError
from stages.ports import Clock
from stages.refusals import Call, Meaning, Named, Owner, owner_of, read
from worker.queues import BATCH, MOST_ATTRIBUTES, BatchResult, Message, Outgoing, QueueFacts
from worker.queues.sqs_errors import gather

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

__all__ = ["SqsQueue"]

log = structlog.get_logger()

#: Seconds of a long poll (an SQS limit).
LONGEST_POLL_SECONDS = 20
#: Receives of a redrive policy that names none.
DEFAULT_MAX_RECEIVES = 10
#: Group of what is sent to a FIFO queue and comes from none.
NO_GROUP = "sqscribe"

_HINTS = {
    Meaning.GONE: "check the queue's URL, region and account",
    Meaning.DENIED: "check what the worker's credentials and the queue's policy permit",
}
#: What a message may not hold; see SendMessage in the SQS API reference.
_UNSENDABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class SqsQueue:
    """Implements `worker.queues.Queue`. Thread-safe.

    Args:
        url: The queue's.
        client: For everything but the heartbeat; its read time-out exceeds the long poll.
        heartbeat_client: For `extend` only, with time-outs far below the lease.
        clock: Tells when a receive was sent.
        visibility_timeout: Seconds that a receive hides a message for.
    """

    def __init__(
        self, url: str, client: SQSClient, heartbeat_client: SQSClient, clock: Clock, *, visibility_timeout: int
    ) -> None:
        self.url = url
        self._client = client
        self._heartbeat_client = heartbeat_client
        self._clock = clock
        self._visibility_timeout = visibility_timeout

    def facts(self) -> QueueFacts:
        """Asks the queue for its redrive policy.

        Raises:
            NodeFaultError: The queue cannot be reached.
            SettingsFaultError: It, or its dead-letter queue, does not exist or refuses access.
        """
        fifo = self.url.endswith(".fifo")
        try:
            answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["RedrivePolicy"])
        except (ClientError, BotoCoreError) as error:
            _fail(Call.RECEIVE, "GetQueueAttributes", self.url, error)
        policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy") or "{}")
        if "deadLetterTargetArn" not in policy:
            return QueueFacts(max_receives=None, dead_letter_url=None, fifo=fifo)
        return QueueFacts(
            max_receives=int(policy.get("maxReceiveCount", DEFAULT_MAX_RECEIVES)),
            dead_letter_url=self._url_of(policy["deadLetterTargetArn"]),
            fifo=fifo,
        )

    def receive(self, limit: int, wait: float) -> list[Message]:
        """Polls, for up to `wait` seconds until a first message comes.

        Raises:
            NodeFaultError: The queue cannot be reached.
            SettingsFaultError: It does not exist or refuses access.
        """
        received_at = self._clock.now()
        try:
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(limit, BATCH),
                WaitTimeSeconds=min(round(wait), LONGEST_POLL_SECONDS),
                VisibilityTimeout=self._visibility_timeout,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
                MessageAttributeNames=["All"],
            )
        except (ClientError, BotoCoreError) as error:
            _fail(Call.RECEIVE, "ReceiveMessage", self.url, error)
        # There is no such key when nothing came.
        return [_message(raw, received_at) for raw in answer.get("Messages", [])]

    def extend(self, messages: Sequence[tuple[Message, int]]) -> BatchResult:
        """Hides each message for so many seconds from now on; by the heartbeat's client."""
        return self._change(self._heartbeat_client, messages)

    def release(self, messages: Sequence[Message], delay: int = 0) -> BatchResult:
        """Makes the messages visible after `delay` seconds."""
        return self._change(self._client, [(message, delay) for message in messages])

    def delete(self, messages: Sequence[Message]) -> BatchResult:
        """Removes the messages. What is `done` may come back all the same: standard queues promise no more."""

        def call(batch: Sequence[Message]) -> Mapping[str, Any]:
            return self._client.delete_message_batch(
                QueueUrl=self.url,
                Entries=[{"Id": str(place), "ReceiptHandle": message.receipt} for place, message in enumerate(batch)],
            )

        return _in_batches(messages, lambda message: message.id, call)

    def send(self, url: str | None, outgoing: Outgoing) -> None:
        """Sends one message. Attributes lose characters that SQS does not take; empty ones are left out.

        Raises:
            MessageRefusedError: The queue does not take this message, as it is too large or for what is in it.
            NodeFaultError: The queue cannot be reached.
            SettingsFaultError: It does not exist or refuses access.
        """
        target = url or self.url
        fifo = target.endswith(".fifo")
        request: dict[str, Any] = {
            "QueueUrl": target,
            "MessageBody": outgoing.body,
            "MessageAttributes": _attributes(outgoing),
        }
        if outgoing.group_id is not None or fifo:
            request["MessageGroupId"] = outgoing.group_id or NO_GROUP  # a FIFO queue takes no message without one
        if outgoing.deduplication_id is not None and fifo:
            request["MessageDeduplicationId"] = outgoing.deduplication_id
        try:
            self._client.send_message(**request)
        except (ClientError, BotoCoreError) as error:
            _fail(Call.SEND_COPY if url is None else Call.SEND_DEAD_LETTER, "SendMessage", target, error)

    def _change(self, client: SQSClient, messages: Sequence[tuple[Message, int]]) -> BatchResult:
        def call(batch: Sequence[tuple[Message, int]]) -> Mapping[str, Any]:
            return client.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": message.receipt, "VisibilityTimeout": seconds}
                    for place, (message, seconds) in enumerate(batch)
                ],
            )

        return _in_batches(messages, lambda pair: pair[0].id, call)

    def _url_of(self, arn: str) -> str:
        """The URL of the dead-letter queue, which lives in the queue's own region and account."""
        *_, account, name = arn.split(":")
        try:
            return self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
        except (ClientError, BotoCoreError) as error:
            if read(error).meaning is Meaning.DENIED:
                # The permission for GetQueueUrl is often left out, and the URL of a neighbour is no secret.
                base = self.url.rsplit("/", 2)[0]
                return f"{base}/{account}/{name}"
            _fail(Call.SEND_DEAD_LETTER, "GetQueueUrl", name, error)


def _fail(call: Call, operation: str, target: str, error: ClientError | BotoCoreError) -> NoReturn:
    refusal = read(error)
    hint = _HINTS.get(refusal.meaning)
    said = f"{refusal.text}; {hint}" if hint else refusal.advice
    text = f"{operation} on {target} failed{' with' if refusal.code else ':'} {said}"
    if call is Call.SEND_DEAD_LETTER:
        text = f"the dead-letter queue: {text}"
    match owner_of(call, refusal.meaning, Named.SETTINGS):
        case Owner.SETTINGS:
            raise SettingsFaultError(text) from error
        case Owner.JOB:
            raise MessageRefusedError(text) from error
        case _:
            raise NodeFaultError(text) from error


def _in_batches(
    items: Sequence[Any], id_of: Callable[[Any], str], call: Callable[[Sequence[Any]], Mapping[str, Any]]
) -> BatchResult:
    """Makes one request for every ten items, and reads what became of each.

    The entries' ids are their places in the request: message ids need not fit SQS' alphabet, nor be distinct.
    """
    done: set[str] = set()
    errors: dict[str, tuple[str, str]] = {}
    failed: dict[str, str] = {}
    unanswered: str | None = None
    for first in range(0, len(items), BATCH):
        batch = items[first : first + BATCH]
        ids = [id_of(item) for item in batch]
        try:
            answer = call(batch)
        except (ClientError, BotoCoreError) as error:
            unanswered = read(error).advice
            failed.update(dict.fromkeys(ids, unanswered))
            continue
        done.update(ids[int(entry["Id"])] for entry in answer.get("Successful", []))
        for entry in answer.get("Failed", []):
            errors[ids[int(entry["Id"])]] = (entry.get("Code", ""), entry.get("Message", ""))
        for message_id in set(ids) - done - errors.keys():
            failed[message_id] = "the answer does not name this message"
    judged = gather(done, errors)
    return BatchResult(judged.done, judged.refused, judged.beyond, {**judged.failed, **failed}, unanswered)


def _message(raw: Mapping[str, Any], received_at: float) -> Message:
    system = raw.get("Attributes", {})
    return Message(
        id=raw["MessageId"],
        receipt=raw["ReceiptHandle"],
        body=raw["Body"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        received_at=received_at,
        attributes={
            name: value["StringValue"]
            for name, value in raw.get("MessageAttributes", {}).items()
            if "StringValue" in value
        },
        group_id=system.get("MessageGroupId"),
        typed={
            name: {field: value[field] for field in ("DataType", "StringValue", "BinaryValue") if field in value}
            for name, value in raw.get("MessageAttributes", {}).items()
            if value.get("DataType") != "String"
        },
    )


def _attributes(outgoing: Outgoing) -> dict[str, Any]:
    """The attributes in the form of SQS. Of too many, the last ones are kept: the worker's come after the sender's."""
    clean = {name: _UNSENDABLE.sub("", value) for name, value in outgoing.attributes.items()}
    kept: dict[str, Any] = {name: dict(value) for name, value in outgoing.typed.items()}
    strings = {name: {"DataType": "String", "StringValue": value} for name, value in clean.items() if value}
    kept |= {name: value for name, value in strings.items() if name not in outgoing.typed}
    dropped = list(kept)[:-MOST_ATTRIBUTES]
    if dropped:
        log.warning("attributes_dropped", names=dropped)
    return {name: value for name, value in kept.items() if name not in dropped}
