# SPDX-License-Identifier: Apache-2.0
"""The fault proxy in front of the embedded SQS and S3."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError, ResponseStreamingError

from worker.embedded.aws import REGION, EmbeddedAws
from worker.testing.faults import FaultProxy, Kind, Misfortune, read_log

# `aws` is in conftest.py: a queue and a bucket of the test's own.


class Line:
    """Clients that go through a proxy."""

    def __init__(self, proxy: FaultProxy, attempts: int) -> None:
        self.proxy = proxy
        session: Any = boto3.session.Session()
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=20,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        options: dict[str, Any] = {"endpoint_url": proxy.url, "region_name": REGION, "config": config}
        options |= {"aws_access_key_id": "tester", "aws_secret_access_key": "secret"}
        self.sqs = session.client("sqs", **options)
        self.s3 = session.client("s3", **options)

    def close(self) -> None:
        self.sqs.close()
        self.s3.close()


Open = Callable[..., Line]


@pytest.fixture
def through(embedded_aws: EmbeddedAws, tmp_path: Path) -> Iterator[Open]:
    """Opens a line through a proxy of its own."""
    lines: list[Line] = []

    def start(rate: float = 0.0, truncated: float = 0.0, attempts: int = 1) -> Line:
        log = tmp_path / f"access-{len(lines)}.jsonl"
        proxy = FaultProxy(
            embedded_aws.url, log, rate=rate, truncated=truncated, stall_seconds=0.05, timeout_seconds=0.2
        )
        lines.append(Line(proxy, attempts))
        return lines[-1]

    yield start
    for line in lines:
        line.close()
        line.proxy.stop()
        assert not line.proxy.alive


def test_receipts_of_an_earlier_receive_are_refused(aws: Any, through: Open) -> None:
    line, url = through(), aws.queue(visibility_timeout=30).url
    line.sqs.send_message(QueueUrl=url, MessageBody="work")

    def receive() -> str:
        messages = line.sqs.receive_message(QueueUrl=url, VisibilityTimeout=30, WaitTimeSeconds=2)["Messages"]
        return str(messages[0]["ReceiptHandle"])

    def change(receipt: str, seconds: int) -> dict[str, str]:
        entries = [{"Id": "0", "ReceiptHandle": receipt, "VisibilityTimeout": seconds}]
        answer = line.sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
        return {entry["Id"]: entry["Code"] for entry in answer.get("Failed", [])}

    def delete(receipt: str) -> None:
        entries = [{"Id": "0", "ReceiptHandle": receipt}]
        answer = line.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        assert [entry["Id"] for entry in answer["Successful"]] == ["0"]

    # Given a message that was given back, and with that receipt no longer in flight
    first = receive()
    assert change(first, 0) == {}
    assert change(first, 30) == {"0": "MessageNotInflight"}
    # When another receives it
    second = receive()
    # Then the first receipt neither hides nor removes it
    assert change(first, 30) == {"0": "ReceiptHandleIsInvalid"}
    delete(first)
    assert change(second, 30) == {}
    # And the second one does
    delete(second)
    delete(second)
    assert change(second, 30) == {"0": "ReceiptHandleIsInvalid"}
    deletes = [access for access in read_log(line.proxy.log) if access.operation == "DeleteMessageBatch"]
    assert [access.entries[0].stale for access in deletes] == [True, False, False]
    assert {access.caller for access in deletes} == {"tester"}


def test_a_long_poll_ends_when_a_message_comes(aws: Any, through: Open) -> None:
    line, url = through(), aws.queue().url
    with ThreadPoolExecutor(1) as pool:
        # Given somebody who waits for a message
        poll = pool.submit(line.sqs.receive_message, QueueUrl=url, VisibilityTimeout=30, WaitTimeSeconds=20)
        # When one comes
        line.sqs.send_message(QueueUrl=url, MessageBody="work")
        # Then it is there long before the poll would end
        assert poll.result(10)["Messages"][0]["Body"] == "work"


def test_of_many_conditional_writes_one_succeeds(aws: Any, through: Open) -> None:
    line, bucket = through(), aws.bucket().removeprefix("s3://")
    barrier = threading.Barrier(8)

    def write(number: int) -> bool:
        barrier.wait()
        try:
            line.s3.put_object(Bucket=bucket, Key="one", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"  # noqa: PT017 - one of them is met by nothing
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))

    assert sum(won) == 1
    body = line.s3.get_object(Bucket=bucket, Key="one")["Body"].read()
    assert body == str(won.index(True)).encode()
    written = [access for access in read_log(line.proxy.log) if access.operation == "PutObject" and access.done]
    assert [access.condition for access in written] == ["If-None-Match: *"]


def test_faults_come_before_and_after_the_effect(aws: Any, through: Open) -> None:
    # Given a line on which two calls in five fail
    line, bucket = through(rate=0.4), aws.bucket().removeprefix("s3://")
    failed: set[str] = set()
    # When objects are written without a second try
    for number in range(150):
        try:
            line.s3.put_object(Bucket=bucket, Key=f"{number:03}", Body=b"x")
        except (ClientError, EndpointConnectionError, HTTPClientError):
            failed.add(f"{bucket}/{number:03}")
        if len(failed) >= 10:
            break
    # Then those that failed stand, or do not, as the log says
    standing = {f"{bucket}/{entry['Key']}" for entry in aws.server.s3.list_objects_v2(Bucket=bucket)["Contents"]}
    log = {access.resource: access for access in read_log(line.proxy.log)}
    assert len(failed) >= 10
    assert {key for key, access in log.items() if access.done} == standing
    assert {key for key, access in log.items() if not access.answered} == failed
    assert failed & standing
    assert failed - standing


def test_a_client_s_retries_outlast_the_faults(aws: Any, through: Open) -> None:
    line, bucket = through(rate=0.15, attempts=8), aws.bucket().removeprefix("s3://")

    for number in range(20):
        line.s3.put_object(Bucket=bucket, Key=str(number), Body=b"x")

    assert line.s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 20
    assert any(access.fault for access in read_log(line.proxy.log))


def test_bodies_break_off(aws: Any, through: Open) -> None:
    line, bucket = through(truncated=1.0), aws.bucket().removeprefix("s3://")
    line.s3.put_object(Bucket=bucket, Key="long", Body=bytes(100_000))

    answer = line.s3.get_object(Bucket=bucket, Key="long")

    assert answer["ContentLength"] == 100_000
    with pytest.raises(ResponseStreamingError):
        answer["Body"].read()


def test_what_is_ordered_befalls_every_call_of_its_kind_until_it_is_called_off(aws: Any, through: Open) -> None:
    line, bucket = through(), aws.bucket().removeprefix("s3://")
    # Given an order that writes have their effect and no answer
    line.proxy.order("PutObject", Misfortune(Kind.RESET, after=True))
    with pytest.raises(HTTPClientError):
        line.s3.put_object(Bucket=bucket, Key="one", Body=b"x")
    # Then reads are spared
    assert line.s3.get_object(Bucket=bucket, Key="one")["Body"].read() == b"x"
    # And once it is called off, so are writes
    line.proxy.order("PutObject", None)
    line.s3.put_object(Bucket=bucket, Key="two", Body=b"x")
    # And the log tells of it all
    log = {access.resource: access for access in read_log(line.proxy.log) if access.operation == "PutObject"}
    told = [(access.done, access.answered, access.fault) for access in log.values()]
    assert told == [(True, False, "reset"), (True, True, None)]
