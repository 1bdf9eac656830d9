# SPDX-License-Identifier: Apache-2.0
"""A dead letter is always sent: with less in it, where the queue does not take all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import ErrorCode, PermanentError, SettingsFaultError
from sqscribe.job import JobRef
from sqscribe.result import WorkerFacts
from stages.publish import Publisher
from worker.jobs.dead_letters import DeadLetters, Letter
from worker.queues import Message, Outgoing
from worker.testing.clock import FakeClock
from worker.testing.queue import FakeQueue
from worker.testing.store import MemoryStore

LIMIT = 1 << 20
REF = JobRef("message-m1", "s3://bucket/out", None, None)
ERROR = PermanentError(ErrorCode.BAD_MESSAGE, "the message is neither a JSON object nor a URL " + "x" * 2000)
TYPED: dict[str, dict[str, Any]] = {
    "number": {"DataType": "Number", "StringValue": "7"},
    "bytes": {"DataType": "Binary", "BinaryValue": b"\0\xff"},
    "custom": {"DataType": "String.trace", "StringValue": "abc"},
}
STRINGS = {"tenant": "acme", "number": "7", "custom": "abc"}


class Bench:
    def __init__(self, limit: int) -> None:
        clock = FakeClock()
        self.store = MemoryStore()
        self.queue = FakeQueue(clock, url="https://sqs.test/1/dead", max_bytes=limit)
        publisher = Publisher(self.store, clock, WorkerFacts("0", "node"))
        self.letters = DeadLetters(self.queue, self.queue.url, publisher)
        self.fences = 0

    def send(self, body: str, short: str | None = None, attributes: dict[str, str] | None = None) -> Outgoing:
        message = Message("m1", "r", body, 1, 0.0, STRINGS if attributes is None else attributes, "tenant", TYPED)
        self.letters.send(Letter(message, REF, body, short, ERROR), self._fence)
        (sent,) = self.queue.messages
        assert self.fences >= 1
        return sent

    def _fence(self) -> None:
        self.fences += 1


def test_attributes_keep_their_types() -> None:
    sent = Bench(LIMIT).send("body")
    assert sent.body == "body"
    assert sent.typed == TYPED
    assert sent.attributes["tenant"] == "acme"
    assert sent.attributes["error_code"] == "bad_message"
    assert len(sent.attributes["error_message"]) == 1024
    assert sent.group_id == "tenant"


def test_no_more_attributes_than_sqs_takes_whatever_their_type() -> None:
    sent = Bench(LIMIT).send("body", attributes={f"a{number}": "v" for number in range(9)})
    assert len({**sent.attributes, **sent.typed}) == 10
    assert {"error_code", "error_message"} <= set(sent.attributes)


def test_marks_of_a_copy_are_left_out() -> None:
    sent = Bench(LIMIT).send("body", attributes={"sqscribe_origin": "m0", "sqscribe_generation": "3", "tenant": "acme"})
    assert set(sent.attributes) == {"tenant", "error_code", "error_message"}


@pytest.mark.parametrize("size", [LIMIT, LIMIT - 1, LIMIT - 100, LIMIT - 1024])
def test_a_body_of_the_queues_limit_is_kept_beside_the_record(size: int) -> None:
    # Given a body that has no room for attributes beside it, and is no job
    bench, body = Bench(LIMIT), "ü" + "x" * (size - 2)
    with capture_logs() as logs:
        sent = bench.send(body)
    # Then its beginning is sent, with where the rest and the record stand
    letter = json.loads(sent.body)
    assert body.startswith(letter.pop("body"))
    assert letter == {
        "job_id": "message-m1",
        "result": "s3://bucket/out/message-m1/result.json",
        "message": "s3://bucket/out/message-m1/message.txt",
        "message_id": "m1",
        "bytes": size,
    }
    assert bench.store.objects == {"s3://bucket/out/message-m1/message.txt": body.encode()}
    # And the attributes fit again
    assert sent.typed == TYPED
    assert sent.attributes["error_code"] == "bad_message"
    assert "dead_letter_cut" in [line["event"] for line in logs]


def test_where_only_the_senders_attributes_do_not_fit_the_body_goes_whole() -> None:
    bench, body = Bench(2400), "x" * 1300
    sent = bench.send(body, attributes={"tenant": "a" * 200})
    assert sent.body == body
    assert set(sent.attributes) == {"error_code", "error_message"}
    assert not sent.typed
    assert bench.store.objects == {}


def test_of_a_job_that_is_mostly_blanks_the_job_is_sent() -> None:
    bench, job = Bench(LIMIT), json.dumps({"source": "https://x.test/a.mp3", "job_id": "j"})
    sent = bench.send(" " * (LIMIT - len(job)) + job, job)
    assert sent.body == job
    assert sent.typed == TYPED
    assert bench.store.objects == {}


def test_the_smallest_queue_that_there_is_takes_one_too() -> None:
    # Given a dead-letter queue of 1,024 bytes, which the error's message alone would fill
    bench = Bench(1024)
    sent = bench.send("x" * 5000)
    assert json.loads(sent.body)["result"] == "s3://bucket/out/message-m1/result.json"
    assert len(sent.attributes["error_message"]) == 128


def test_a_long_prefix_leaves_the_id() -> None:
    bench = Bench(1024)
    message = Message("m1", "r", "x" * 5000, 1, 0.0)
    ref = JobRef("message-m1", f"s3://bucket/{'p' * 900}", None, None)
    bench.letters.send(Letter(message, ref, message.body, None, ERROR), lambda: None)
    (sent,) = bench.queue.messages
    assert json.loads(sent.body) == {"job_id": "message-m1"}
    assert sent.attributes == {"error_code": "bad_message"}


def test_a_body_that_cannot_be_kept_leaves_its_beginning() -> None:
    bench = Bench(LIMIT)
    bench.store.refuse("put", "message.txt", PermanentError(ErrorCode.OUTPUT_FORBIDDEN, "no"))
    letter = json.loads(bench.send("x" * LIMIT).body)
    assert "message" not in letter
    assert len(letter["body"]) == 8192


def test_a_queue_that_takes_none_is_the_settings_fault() -> None:
    bench = Bench(10)
    with pytest.raises(SettingsFaultError, match=r"SQSCRIBE_DEAD_LETTER_QUEUE_URL.*takes no dead letter"):
        bench.send("x")


def test_without_a_queue_nothing_is_sent() -> None:
    bench = Bench(LIMIT)
    letters = DeadLetters(bench.queue, None, Publisher(bench.store, FakeClock(), WorkerFacts("0", "node")))
    letters.send(Letter(Message("m1", "r", "x", 1, 0.0), REF, "x", None, ERROR), lambda: None)
    assert bench.queue.messages == []
