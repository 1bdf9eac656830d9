# SPDX-License-Identifier: Apache-2.0
"""What SQS' answers mean; its real client, with the answers put in its mouth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, NoCredentialsError
from botocore.stub import ANY, Stubber

from sqscribe.errors import MessageRefusedError, NodeFaultError, SettingsError
from worker.queues import Message, Outgoing
from worker.queues.sqs import SqsQueue
from worker.queues.sqs_errors import Refusal, judge
from worker.testing.clock import FakeClock

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"
BEYOND = (
    "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond"
    " the limit [43200 seconds]"
)


@pytest.mark.parametrize(
    ("code", "message", "refusal"),
    [
        ("ReceiptHandleIsInvalid", "", Refusal.REFUSED),
        ("AWS.SimpleQueueService.ReceiptHandleIsInvalid", "", Refusal.REFUSED),
        ("MessageNotInflight", "", Refusal.REFUSED),
        ("AWS.SimpleQueueService.MessageNotInflight", "", Refusal.REFUSED),
        ("com.amazonaws.sqs#MessageNotInflight", "", Refusal.REFUSED),
        (
            "InvalidParameterValue",
            "Value AQEB for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
            Refusal.REFUSED,
        ),
        (
            "InvalidParameterValue",
            "Reason: Message does not exist or is not available for visibility timeout change.",
            Refusal.REFUSED,
        ),
        ("InvalidParameterValue", BEYOND, Refusal.BEYOND),
        ("InvalidParameterValueException", BEYOND, Refusal.BEYOND),
        ("InvalidParameterValue", "VisibilityTimeout must be between 0 and 43200", Refusal.FAILED),
        ("InternalError", "", Refusal.FAILED),
        ("RequestThrottled", "", Refusal.FAILED),
        ("AWS.SimpleQueueService.NonExistentQueue", "", Refusal.FAILED),
    ],
)
def test_both_spellings_and_the_words_of_an_error_decide(code: str, message: str, refusal: Refusal) -> None:
    assert judge(code, message) is refusal


def client() -> Any:
    return boto3.client("sqs", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock(start=50)
        self.client, self.heartbeat = client(), client()
        self.stub, self.heartbeat_stub = Stubber(self.client), Stubber(self.heartbeat)
        self.queue = SqsQueue(URL, self.client, self.heartbeat, self.clock, visibility_timeout=300)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    with bench.stub, bench.heartbeat_stub:
        yield bench
    bench.stub.assert_no_pending_responses()
    bench.heartbeat_stub.assert_no_pending_responses()


def messages(count: int) -> list[Message]:
    return [Message(f"id-{n}", f"receipt-{n}", "body", 1, 0.0) for n in range(count)]


def test_a_receive_asks_for_what_is_needed_and_reads_it(bench: Bench) -> None:
    raw = {
        "MessageId": "m",
        "ReceiptHandle": "r",
        "Body": "b",
        "Attributes": {"ApproximateReceiveCount": "3", "MessageGroupId": "g"},
        "MessageAttributes": {
            "text": {"DataType": "String", "StringValue": "v"},
            "number": {"DataType": "Number", "StringValue": "7"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\0"},
        },
    }
    expected = {
        "QueueUrl": URL,
        "MaxNumberOfMessages": 10,
        "WaitTimeSeconds": 20,
        "VisibilityTimeout": 300,
        "MessageSystemAttributeNames": ["ApproximateReceiveCount", "MessageGroupId"],
        "MessageAttributeNames": ["All"],
    }
    bench.stub.add_response("receive_message", {"Messages": [raw]}, expected)
    typed: dict[str, Mapping[str, Any]] = {
        "number": {"DataType": "Number", "StringValue": "7"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\0"},
    }
    assert bench.queue.receive(50, 60) == [
        Message("m", "r", "b", 3, 50.0, attributes={"text": "v", "number": "7"}, group_id="g", typed=typed)
    ]


def test_an_empty_receive_has_no_messages_key(bench: Bench) -> None:
    bench.stub.add_response("receive_message", {})
    assert bench.queue.receive(1, 0) == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", SettingsError),
        ("QueueDoesNotExist", SettingsError),
        ("AccessDenied", SettingsError),
        ("AccessDeniedException", SettingsError),
        ("InvalidClientTokenId", SettingsError),
        ("KmsAccessDenied", SettingsError),
        ("SignatureDoesNotMatch", SettingsError),
        ("InvalidSignatureException", SettingsError),
        ("OverLimit", NodeFaultError),
        ("RequestThrottled", NodeFaultError),
        ("ServiceUnavailable", NodeFaultError),
        ("InternalError", NodeFaultError),
        ("KmsThrottled", NodeFaultError),
    ],
)
def test_errors_of_a_receive_say_who_can_mend_them(bench: Bench, code: str, error: type[Exception]) -> None:
    bench.stub.add_client_error("receive_message", code, "why")
    with pytest.raises(error, match=f"ReceiveMessage on {URL} failed with .*: why"):
        bench.queue.receive(1, 0)


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (ConnectTimeoutError(endpoint_url=URL), NodeFaultError),
        (NoCredentialsError(), SettingsError),
    ],
)
def test_errors_without_an_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, raised: Exception, error: type[Exception]
) -> None:
    def fail(**_: Any) -> None:
        raise raised

    monkeypatch.setattr(bench.client, "receive_message", fail)
    monkeypatch.setattr(bench.client, "delete_message_batch", fail)
    with pytest.raises(error):
        bench.queue.receive(1, 0)
    result = bench.queue.delete(messages(2))
    assert set(result.failed) == {"id-0", "id-1"}, "a batch answers for each message instead"


def test_extend_uses_the_heartbeats_client_and_looks_at_every_entry(bench: Bench) -> None:
    expected = {
        "QueueUrl": URL,
        "Entries": [{"Id": str(n), "ReceiptHandle": f"receipt-{n}", "VisibilityTimeout": 300} for n in range(5)],
    }
    answer = {
        "Successful": [{"Id": "0"}],
        "Failed": [
            {"Id": "1", "SenderFault": True, "Code": "AWS.SimpleQueueService.MessageNotInflight", "Message": "no"},
            {"Id": "2", "SenderFault": True, "Code": "InvalidParameterValue", "Message": BEYOND},
            {"Id": "3", "SenderFault": False, "Code": "InternalError"},
        ],
    }
    bench.heartbeat_stub.add_response("change_message_visibility_batch", answer, expected)

    result = bench.queue.extend([(message, 300) for message in messages(5)])

    assert result.done == {"id-0"}
    assert result.refused == {"id-1": "MessageNotInflight: no"}
    assert result.beyond == {"id-2": f"InvalidParameterValue: {BEYOND}"}
    assert result.failed == {"id-3": "InternalError", "id-4": "the answer does not name this message"}


def test_a_request_that_fails_as_a_whole_leaves_the_others(bench: Bench) -> None:
    bench.stub.add_client_error("delete_message_batch", "ReceiptHandleIsInvalid", "of the whole request")
    bench.stub.add_response(
        "delete_message_batch",
        {"Successful": [{"Id": "0"}, {"Id": "1"}], "Failed": []},
        {"QueueUrl": URL, "Entries": ANY},
    )
    result = bench.queue.delete(messages(12))
    assert result.done == {"id-10", "id-11"}
    assert len(result.failed) == 10
    assert not result.refused


def test_nothing_to_do_is_no_request(bench: Bench) -> None:
    assert bench.queue.delete([]).done == frozenset()


def test_release_asks_for_the_delay(bench: Bench) -> None:
    entries = [{"Id": "0", "ReceiptHandle": "receipt-0", "VisibilityTimeout": 45}]
    bench.stub.add_response(
        "change_message_visibility_batch",
        {"Successful": [{"Id": "0"}], "Failed": []},
        {"QueueUrl": URL, "Entries": entries},
    )
    assert bench.queue.release(messages(1), delay=45).done == {"id-0"}


def test_send_cleans_what_sqs_would_refuse(bench: Bench) -> None:
    attributes = {"gone": "\0\x1b", "kept": "a\0b\ud800c\n😀"}
    bench.stub.add_response(
        "send_message",
        {"MessageId": "x", "MD5OfMessageBody": "x"},
        {
            "QueueUrl": URL,
            "MessageBody": "body",
            "MessageAttributes": {"kept": {"DataType": "String", "StringValue": "abc\n😀"}},
            "MessageGroupId": "tenant",
        },
    )
    bench.queue.send(
        None, Outgoing("body", attributes, group_id="tenant", deduplication_id="standard queues take none")
    )


def test_of_too_many_attributes_the_workers_own_stay(bench: Bench) -> None:
    attributes = {f"a{n}": "v" for n in range(9)} | {"error_code": "c", "error_message": "m"}
    kept = [*(f"a{n}" for n in range(1, 9)), "error_code", "error_message"]
    dead = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead.fifo"
    bench.stub.add_response(
        "send_message",
        {"MessageId": "x", "MD5OfMessageBody": "x"},
        {
            "QueueUrl": dead,
            "MessageBody": "body",
            "MessageAttributes": {name: {"DataType": "String", "StringValue": ANY} for name in kept},
            "MessageGroupId": "g",
            "MessageDeduplicationId": "d",
        },
    )
    bench.queue.send(dead, Outgoing("body", attributes, group_id="g", deduplication_id="d"))


def redrive(bench: Bench, policy: dict[str, Any] | None) -> None:
    attributes = {} if policy is None else {"Attributes": {"RedrivePolicy": json.dumps(policy)}}
    bench.stub.add_response("get_queue_attributes", attributes, {"QueueUrl": URL, "AttributeNames": ["RedrivePolicy"]})


def test_facts_without_a_redrive_policy(bench: Bench) -> None:
    redrive(bench, None)
    facts = bench.queue.facts()
    assert (facts.max_receives, facts.dead_letter_url, facts.fifo) == (None, None, False)


def test_facts_name_the_dead_letter_queue(bench: Bench) -> None:
    redrive(bench, {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:210987654321:dead", "maxReceiveCount": "4"})
    bench.stub.add_response(
        "get_queue_url", {"QueueUrl": "https://dead"}, {"QueueName": "dead", "QueueOwnerAWSAccountId": "210987654321"}
    )
    facts = bench.queue.facts()
    assert (facts.max_receives, facts.dead_letter_url) == (4, "https://dead")


def test_the_dead_letter_queue_is_found_without_the_permission_to_ask(bench: Bench) -> None:
    redrive(bench, {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:dead"})
    bench.stub.add_client_error("get_queue_url", "AccessDenied")
    facts = bench.queue.facts()
    assert facts.dead_letter_url == "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"
    assert facts.max_receives == 10


def test_a_dead_letter_queue_that_is_gone_is_said(bench: Bench) -> None:
    redrive(bench, {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:dead", "maxReceiveCount": 4})
    bench.stub.add_client_error("get_queue_url", "QueueDoesNotExist")
    with pytest.raises(SettingsError, match="GetQueueUrl on dead"):
        bench.queue.facts()


def test_attributes_of_every_type_count_among_the_ten(bench: Bench) -> None:
    typed: dict[str, Mapping[str, Any]] = {f"b{n}": {"DataType": "Binary", "BinaryValue": b"x"} for n in range(6)}
    attributes = {f"a{n}": "v" for n in range(4)} | {"error_code": "c", "error_message": "m"}
    kept = [*(f"b{n}" for n in range(2, 6)), *(f"a{n}" for n in range(4)), "error_code", "error_message"]
    bench.stub.add_response(
        "send_message",
        {"MessageId": "x", "MD5OfMessageBody": "x"},
        {"QueueUrl": URL, "MessageBody": "body", "MessageAttributes": dict.fromkeys(kept, ANY)},
    )
    bench.queue.send(None, Outgoing("body", attributes, typed=typed))


def test_what_comes_from_no_group_gets_one_in_a_fifo_queue(bench: Bench) -> None:
    dead = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead.fifo"
    expected = {
        "QueueUrl": dead,
        "MessageBody": "body",
        "MessageAttributes": {},
        "MessageGroupId": "sqscribe",
        "MessageDeduplicationId": "d",
    }
    bench.stub.add_response("send_message", {"MessageId": "x", "MD5OfMessageBody": "x"}, expected)
    bench.queue.send(dead, Outgoing("body", deduplication_id="d"))


@pytest.mark.parametrize("code", ["InvalidParameterValue", "InvalidMessageContents", "BatchRequestTooLong"])
def test_a_message_that_the_queue_does_not_take_is_told_from_a_queue_that_refuses(bench: Bench, code: str) -> None:
    bench.stub.add_client_error("send_message", code, "Message must be shorter than 1024 bytes.", 400)
    with pytest.raises(MessageRefusedError, match="shorter than 1024 bytes"):
        bench.queue.send(None, Outgoing("body"))


def test_a_request_that_is_not_answered_is_told_from_entries_that_fail(bench: Bench) -> None:
    bench.stub.add_client_error("delete_message_batch", "AccessDenied", "not authorized", 403)
    bench.stub.add_response(
        "delete_message_batch",
        {"Successful": [], "Failed": [{"Id": "0", "SenderFault": False, "Code": "InternalError"}]},
    )
    assert "not authorized" in (bench.queue.delete(messages(1)).unanswered or "")
    assert bench.queue.delete(messages(1)).unanswered is None
