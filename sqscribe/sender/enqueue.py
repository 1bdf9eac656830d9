# SPDX-License-Identifier: Apache-2.0
"""Jobs into an SQS queue, in batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from sqscribe.errors import ErrorCode, PermanentError, SqscribeError
from sqscribe.job import JobDefaults, JobMessageError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

__all__ = ["SendError", "Sent", "send_jobs"]

#: Messages of one call (an SQS limit).
BATCH = 10
#: Bytes of one call. SQS takes 1 MiB, queues made before August 2025 and some look-alikes 256 KiB.
BATCH_BYTES = 256 * 1024
#: Bytes of one message (an SQS limit).
MESSAGE_BYTES = 1024 * 1024
#: Tries of an entry that the queue failed on its own account.
ATTEMPTS = 5
#: Stands for the worker's default output, which a sender need not know.
_ANY_OUTPUT = "s3://output/of-the-worker"


@dataclass(frozen=True, slots=True)
class Sent:
    """A job that the queue has confirmed."""

    job_id: str
    message_id: str


class SendError(SqscribeError):
    """The queue refused some jobs, or kept failing on them. Those before them were sent.

    Attributes:
        refused: Job id to the queue's reason.
        sent: Jobs of the same batch that were sent all the same.
    """

    def __init__(self, refused: Mapping[str, str], sent: Sequence[Sent]) -> None:
        first, reason = next(iter(refused.items()))
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        super().__init__(f"the queue did not take job {first}{more}: {reason}")
        self.refused = dict(refused)
        self.sent = tuple(sent)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    job_id: str
    body: str


def send_jobs(
    client: SQSClient,
    queue_url: str,
    messages: Iterable[Mapping[str, Any]],
    *,
    group_id: str | None = None,
    retry_seconds: float = 0.5,
) -> Iterator[Sent]:
    """Sends jobs, each checked first; the queue's own failures are tried again.

    Each message gets its job id written into it, so that sender and worker agree on it whatever their settings. On a
    FIFO queue the same message sent twice within five minutes is one.

    Args:
        client: Of the queue's region.
        queue_url: A standard or FIFO queue.
        messages: Job messages; taken ten at a time, so that any number may come.
        group_id: Message group. On a FIFO queue each job is a group of its own by default (so that none waits for
            another); on a standard one it names a tenant of a fair queue.
        retry_seconds: First wait before failed entries are sent again; it grows, with jitter.

    Yields:
        Each job once the queue has confirmed it, in the order given (but for those tried again, which come later in
        their batch).

    Raises:
        PermanentError: A message is not valid; its place (from 0) and the field are named. All before its batch
            were sent.
        SendError: The queue did not take some.
        botocore.exceptions.ClientError: It refused the whole call (access, no such queue).
        botocore.exceptions.BotoCoreError: It cannot be reached.
    """
    checked = (_checked(index, message) for index, message in enumerate(messages))
    for batch in _batches(checked):
        yield from _send(client, queue_url, batch, group_id, retry_seconds)


def _checked(index: int, message: Mapping[str, Any]) -> _Outgoing:
    # Loads pydantic, which `sqscribe fetch` need not wait for.
    from sqscribe.job_message import parse_job  # noqa: PLC0415

    try:
        job = parse_job(message, JobDefaults(_ANY_OUTPUT))
    except JobMessageError as error:
        raise PermanentError(error.code, f"message {index}: {error.message}") from None
    # ASCII only: SQS refuses some characters that a JSON string may hold.
    body = json.dumps({**message, "job_id": job.job_id}, allow_nan=False)
    if len(body) > MESSAGE_BYTES:
        raise PermanentError(
            ErrorCode.BAD_MESSAGE, f"message {index}: has {len(body)} bytes as JSON; SQS takes {MESSAGE_BYTES}"
        )
    return _Outgoing(job.job_id, body)


def _batches(messages: Iterable[_Outgoing]) -> Iterator[list[_Outgoing]]:
    batch: list[_Outgoing] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == BATCH or size + len(message.body) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.body)
    if batch:
        yield batch


def _send(
    client: SQSClient, queue_url: str, batch: Sequence[_Outgoing], group_id: str | None, retry_seconds: float
) -> Iterator[Sent]:
    sent: list[Sent] = []
    left = dict(enumerate(batch))
    refused: dict[str, str] = {}

    def attempt() -> dict[str, str]:
        """Sends what is left; what the queue failed on its own account, and why."""
        answer = client.send_message_batch(
            QueueUrl=queue_url,
            Entries=[_entry(index, message, queue_url, group_id) for index, message in left.items()],
        )
        sent.extend(
            Sent(left.pop(int(entry["Id"])).job_id, entry["MessageId"]) for entry in answer.get("Successful", [])
        )
        reasons: dict[int, str] = {}
        for fault in answer.get("Failed", []):
            index, reason = int(fault["Id"]), f"{fault['Code']}: {fault.get('Message', '')}"
            if fault["SenderFault"]:
                refused[left.pop(index).job_id] = reason
            else:
                reasons[index] = reason
        return {message.job_id: reasons.get(index, "no answer for it") for index, message in left.items()}

    def given_up(state: RetryCallState) -> dict[str, str]:
        return state.outcome.result() if state.outcome else {}

    failed = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=retry_seconds, max=20.0),
        retry=retry_if_result(bool),
        retry_error_callback=given_up,
    )(attempt)
    if refused or failed:
        raise SendError(refused | failed, sent)
    yield from sent


def _entry(index: int, message: _Outgoing, queue_url: str, group_id: str | None) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(index), "MessageBody": message.body}
    if queue_url.endswith(".fifo"):
        entry["MessageGroupId"] = group_id or message.job_id
        entry["MessageDeduplicationId"] = hashlib.sha256(message.body.encode()).hexdigest()
    elif group_id:
        entry["MessageGroupId"] = group_id
    return entry
