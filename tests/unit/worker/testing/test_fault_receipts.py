# SPDX-License-Identifier: Apache-2.0
"""Receipts count as they do with SQS, calls are understood, and dice fall as often as they should."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from worker.testing.faults.calls import Call, read_call
from worker.testing.faults.misfortune import Dice, Kind, Misfortune
from worker.testing.faults.receipts import Receipts

SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=sim-1/20260101/us-east-1/sqs/aws4_request, Signature=x"}


def test_the_newest_receipt_alone_counts() -> None:
    receipts = Receipts()
    receipts.received("m", "first", hidden_until=10.0)
    assert receipts.refusal("first", now=5.0) is None
    # When the message is received again
    receipts.received("m", "second", hidden_until=20.0)
    # Then the older receipt neither hides it nor removes it
    refusal = receipts.refusal("first", now=15.0)
    assert refusal is not None
    assert refusal[0] == "ReceiptHandleIsInvalid"
    assert not receipts.deletes("first")
    assert receipts.refusal("second", now=15.0) is None
    assert receipts.deletes("second")


def test_a_message_that_is_visible_again_is_not_in_flight() -> None:
    receipts = Receipts()
    receipts.received("m", "first", hidden_until=10.0)
    receipts.changed("first", hidden_until=12.0)
    assert receipts.refusal("first", now=11.9) is None
    # When its time is up
    refusal = receipts.refusal("first", now=12.0)
    # Then it cannot be hidden again, but can still be removed
    assert refusal is not None
    assert refusal[0] == "MessageNotInflight"
    assert receipts.deletes("first")


def test_a_deleted_message_can_be_deleted_again_but_not_hidden() -> None:
    receipts = Receipts()
    receipts.received("m", "first", hidden_until=10.0)
    receipts.deleted("first")

    refusal = receipts.refusal("first", now=5.0)

    assert refusal is not None
    assert refusal[0] == "ReceiptHandleIsInvalid"
    assert receipts.deletes("first")


def test_a_receipt_that_nobody_gave_counts_for_nothing() -> None:
    receipts = Receipts()

    assert receipts.refusal("invented", now=0.0) is not None
    assert not receipts.deletes("invented")
    assert receipts.message("invented") is None


def test_a_call_to_sqs_is_understood() -> None:
    body = json.dumps({"QueueUrl": "http://127.0.0.1:1/123/jobs", "MessageBody": "x"}).encode()

    call = read_call("POST", "/", SIGNED | {"x-amz-target": "AmazonSQS.SendMessage"}, body)

    assert (call.operation, call.caller, call.resource, call.sqs, call.mutates) == (
        "SendMessage",
        "sim-1",
        "jobs",
        True,
        True,
    )


@pytest.mark.parametrize(
    ("method", "path", "operation", "resource", "mutates"),
    [
        ("GET", "/bucket/a%20key/x", "GetObject", "bucket/a key/x", False),
        ("HEAD", "/bucket/key", "HeadObject", "bucket/key", False),
        ("PUT", "/bucket/key", "PutObject", "bucket/key", True),
        ("DELETE", "/bucket/key", "DeleteObject", "bucket/key", True),
        ("GET", "/bucket?list-type=2&prefix=a%2F", "ListObjectsV2", "bucket", False),
        ("POST", "/bucket/key?uploads", "POST uploads", "bucket/key", False),
        ("PUT", "/bucket", "PUT bucket", "bucket", False),
    ],
)
def test_a_call_to_s3_is_understood(method: str, path: str, operation: str, resource: str, mutates: bool) -> None:
    call = read_call(method, path, SIGNED, b"")

    assert (call.operation, call.resource, call.caller, call.mutates) == (operation, resource, "sim-1", mutates)


def test_a_presigned_call_and_a_condition_are_understood() -> None:
    call = read_call("GET", "/b/k?X-Amz-Credential=me%2F20260101%2Fus-east-1%2Fs3%2Faws4_request", {}, b"")
    write = read_call("PUT", "/b/k", {"if-match": '"1"'}, b"x")

    assert call.caller == "me"
    assert write.condition == 'If-Match: "1"'
    assert write.caller == ""


def test_dice_repeat_themselves_and_fall_as_often_as_they_should() -> None:
    call = Call("PutObject", "w", "b/k", None, {}, b"")
    one, other = Dice(7, rate=0.1), Dice(7, rate=0.1)

    falls = [one.draw(call) for _ in range(5000)]

    assert falls == [other.draw(call) for _ in range(5000)]
    met = [fall for fall in falls if fall]
    kinds = Counter(fall.kind for fall in met)
    assert 400 < len(met) < 600
    assert kinds.keys() == set(Kind) - {Kind.TRUNCATED}
    assert kinds[Kind.TIMEOUT] < kinds[Kind.STALL] < kinds[Kind.ERROR_500]
    # About half of those that fail have done their work all the same; a stall does it anyway
    after = sum(fall.after for fall in met)
    assert 0.3 < after / len(met) < 0.6
    assert not any(fall.after for fall in met if fall.kind is Kind.STALL)


def test_only_reads_break_off_and_only_mutations_fail_after_their_effect() -> None:
    read, dice = Call("GetObject", "w", "b/k", None, {}, b""), Dice(7, rate=0.1, truncated=0.1)

    falls = [fall for _ in range(5000) if (fall := dice.draw(read))]

    assert any(fall.kind is Kind.TRUNCATED for fall in falls)
    assert not any(fall.after for fall in falls)


def test_what_is_ordered_comes_whatever_the_dice_say() -> None:
    read, write, dice = (
        Call("GetObject", "w", "b/k", None, {}, b""),
        Call("PutObject", "w", "b/k", None, {}, b""),
        Dice(7),
    )
    hang = Misfortune(Kind.TIMEOUT, seconds=9.0)

    dice.order("PutObject", hang)

    assert {dice.draw(write) for _ in range(100)} == {hang}
    assert hang not in {dice.draw(read) for _ in range(1000)}
    # And once it is called off, chance has its way again
    dice.order("PutObject", None)
    assert None in {dice.draw(write) for _ in range(100)}
