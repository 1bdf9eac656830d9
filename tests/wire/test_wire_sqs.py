# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest

from sqscribe.errors import NodeFaultError, SettingsError
from worker.aws import AwsClients
from worker.jobs.handover import copy_of
from worker.leases import Heartbeat, LeaseState, LeaseTable
from worker.leases.deleter import DeleteOutcome, Deleter
from worker.node.clock import SystemClock
from worker.queues import Message, Outgoing
from worker.queues.sqs import SqsQueue
from worker.receive.lineage import Lineage


def connect(url: str, *, visibility_timeout: int = 60, **options: Any) -> SqsQueue:
    clients = AwsClients(**options)
    return SqsQueue(
        url, clients.sqs(url), clients.heartbeat_sqs(url), SystemClock(), visibility_timeout=visibility_timeout
    )


def receive_all(queue: SqsQueue, count: int) -> list[Message]:
    messages: list[Message] = []
    while len(messages) < count:
        got = queue.receive(10, 2)
        assert got, f"only {len(messages)} of {count} came"
        messages += got
    return messages


def counts(aws: Any, url: str) -> tuple[int, int]:
    """Visible and hidden messages."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = aws.server.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(attributes[names[0]]), int(attributes[names[1]])


def test_the_way_of_messages(aws: Any) -> None:
    calls: Counter[tuple[str, str]] = Counter()
    queue = connect(aws.queue().url, on_call=lambda *call: calls.update([call]))
    for number in range(23):
        queue.send(None, Outgoing(f"body {number} ü😀", {"number": str(number)}))

    messages = receive_all(queue, 23)
    assert {message.body for message in messages} == {f"body {number} ü😀" for number in range(23)}
    assert all(message.attributes["number"] in message.body for message in messages)
    assert {message.receive_count for message in messages} == {1}
    assert counts(aws, queue.url) == (0, 23)

    assert len(queue.extend([(message, 120) for message in messages]).done) == 23
    assert len(queue.release(messages[:11]).done) == 11
    again = receive_all(queue, 11)
    assert {message.receive_count for message in again} == {2}
    assert len(queue.delete(messages[11:] + again).done) == 23
    assert counts(aws, queue.url) == (0, 0)

    assert calls["sqs", "SendMessage"] == 23
    assert calls["sqs", "ChangeMessageVisibilityBatch"] == 3 + 2
    assert calls["sqs", "DeleteMessageBatch"] == 3


def test_an_unknown_receipt_is_refused_and_the_rest_goes_through(aws: Any) -> None:
    queue = connect(aws.queue().url)
    queue.send(None, Outgoing("body"))
    (message,) = receive_all(queue, 1)
    stranger = Message("stranger", "no-such-receipt", "", 1, 0.0)
    extended = queue.extend([(stranger, 60), (message, 60)])
    assert extended.done == {message.id}
    assert set(extended.refused) == {"stranger"}


def test_an_empty_long_poll_brings_nothing_in_its_time(aws: Any) -> None:
    queue = connect(aws.queue().url)
    before = time.monotonic()
    assert queue.receive(10, 1) == []
    assert 0.9 < time.monotonic() - before < 5


def test_a_long_poll_ends_with_a_message(aws: Any) -> None:
    queue = connect(aws.queue().url)
    brought: list[Message] = []
    thread = threading.Thread(target=lambda: brought.extend(queue.receive(10, 20)))
    thread.start()
    queue.send(None, Outgoing("body"))
    thread.join(10)
    assert [message.body for message in brought] == ["body"]


def test_facts_lead_to_the_dead_letter_queue(aws: Any) -> None:
    made = aws.queue(max_receives=2)
    queue = connect(made.url)
    facts = queue.facts()
    assert (facts.max_receives, facts.dead_letter_url, facts.fifo) == (2, made.dead_letter_url, False)
    queue.send(facts.dead_letter_url, Outgoing("dead", {"error_code": "media_unreadable"}))
    (dead,) = receive_all(connect(made.dead_letter_url), 1)
    assert dead.attributes == {"error_code": "media_unreadable"}
    assert connect(made.dead_letter_url).facts().max_receives is None


def test_a_message_received_too_often_is_redriven(aws: Any) -> None:
    made = aws.queue(max_receives=2)
    queue = connect(made.url)
    queue.send(None, Outgoing("poison"))
    for _ in range(2):
        queue.release(receive_all(queue, 1))
    assert queue.receive(1, 0) == []
    assert [message.body for message in receive_all(connect(made.dead_letter_url), 1)] == ["poison"]


def test_a_fifo_queue(aws: Any) -> None:
    queue = connect(aws.queue(fifo=True).url)
    assert queue.facts().fifo
    for number in ("1", "1", "2"):
        queue.send(None, Outgoing(f"body {number}", group_id="g", deduplication_id=number))
    messages = receive_all(queue, 2)
    assert [message.body for message in messages] == ["body 1", "body 2"]
    assert messages[0].group_id == "g"


def test_a_queue_that_does_not_exist(aws: Any) -> None:
    queue = connect(aws.queue().url + "-not")
    for call in (queue.facts, lambda: queue.receive(1, 0), lambda: queue.send(None, Outgoing("x"))):
        with pytest.raises(SettingsError, match="check the queue's URL"):
            call()
    message = Message("m", "r", "", 1, 0.0)
    assert set(queue.delete([message]).failed) == {"m"}


def test_a_queue_that_cannot_be_reached(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens on discard
    queue = connect(aws.queue().url, attempts=1, heartbeat_attempts=1)
    with pytest.raises(NodeFaultError, match="ReceiveMessage"):
        queue.receive(1, 0)
    message = Message("m", "r", "", 1, 0.0)
    for result in (queue.extend([(message, 1)]), queue.release([message]), queue.delete([message])):
        assert set(result.failed) == {"m"}


def test_many_receivers_never_get_the_same_message(aws: Any) -> None:
    queue = connect(aws.queue().url)
    for number in range(40):
        queue.send(None, Outgoing(str(number)))
    seen: list[str] = []

    def work() -> None:
        while messages := queue.receive(3, 0):
            seen.extend(message.id for message in messages)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == len(set(seen)) == 40


def test_the_heartbeat_keeps_a_message_beyond_its_timeout_and_the_deleter_ends_it(aws: Any) -> None:
    queue = connect(aws.queue().url, visibility_timeout=2)
    clock, renewed = SystemClock(), threading.Semaphore(0)
    table = LeaseTable(
        queue,
        clock,
        visibility_timeout=2,
        shortest_retry=0.1,
        on_renewals=lambda _outcome, count: renewed.release(count),
    )
    heartbeat, deleter = Heartbeat(table, queue, clock), Deleter(table, queue, clock, linger=0.01)
    heartbeat.start()
    deleter.start()
    queue.send(None, Outgoing("long work"))
    (lease,) = table.add(queue.receive(1, 2))

    for _ in range(4):
        assert renewed.acquire(timeout=5)
    assert clock.now() > lease.message.received_at + 2
    assert counts(aws, queue.url) == (0, 1)
    assert lease.state is LeaseState.HELD

    lease.fence()
    assert deleter.delete(lease).result(10) is DeleteOutcome.DELETED
    assert counts(aws, queue.url) == (0, 0)
    assert deleter.stop(5)
    assert heartbeat.stop(5)


def test_a_copy_has_the_attributes_of_the_message_with_their_types(aws: Any) -> None:
    url = aws.queue().url
    sent: dict[str, Any] = {
        "text": {"DataType": "String", "StringValue": "a"},
        "number": {"DataType": "Number", "StringValue": "7"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    aws.server.sqs.send_message(QueueUrl=url, MessageBody="body", MessageAttributes=sent)
    queue = connect(url)
    (message,) = receive_all(queue, 1)

    queue.send(None, copy_of(message, message.body, Lineage(message.id, 1), "job"))

    (raw,) = aws.server.sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    lineage = {"sqscribe_origin": message.id, "sqscribe_generation": "1"}
    ours = {name: {"DataType": "String", "StringValue": value} for name, value in lineage.items()}
    assert raw["MessageAttributes"] == {**sent, **ours}
