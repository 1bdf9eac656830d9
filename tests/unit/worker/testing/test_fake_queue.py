# SPDX-License-Identifier: Apache-2.0
"""The fake has to be right where emulators are not."""

from __future__ import annotations

import threading

import pytest

from sqscribe.errors import NodeFaultError, SettingsError
from worker.queues import Message, Outgoing, QueueFacts
from worker.testing.clock import FakeClock
from worker.testing.queue import FakeQueue, Fault, Gate


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(start=0)


@pytest.fixture
def queue(clock: FakeClock) -> FakeQueue:
    return FakeQueue(clock, visibility_timeout=30)


def one(queue: FakeQueue) -> Message:
    (message,) = queue.receive(1, 0)
    return message


def test_a_receive_hides_a_message_and_counts(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body", {"a": "b"}))
    first = one(queue)
    assert (first.body, first.attributes, first.receive_count) == ("body", {"a": "b"}, 1)
    assert queue.receive(1, 0) == []
    clock.advance(30)
    second = one(queue)
    assert second.id == first.id
    assert second.receive_count == 2
    assert second.receipt != first.receipt


def test_a_receive_brings_ten_at_most_in_order(queue: FakeQueue) -> None:
    for number in range(12):
        queue.send(None, Outgoing(str(number)))
    assert [message.body for message in queue.receive(100, 0)] == [str(number) for number in range(10)]


def test_extending_counts_from_the_call_and_does_not_add(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body"))
    message = one(queue)
    clock.advance(10)
    assert queue.extend([(message, 5)]).done == {message.id}
    assert queue.visible_at(message.id) == 15


def test_a_stale_receipt_is_refused(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body"))
    stale = one(queue)
    clock.advance(30)
    fresh = one(queue)
    result = queue.extend([(stale, 30)])
    assert result.refused[stale.id].startswith("ReceiptHandleIsInvalid")
    assert set(queue.release([stale]).refused) == {stale.id}
    assert queue.extend([(fresh, 30)]).done == {fresh.id}


def test_a_message_that_is_not_in_flight_cannot_be_extended(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body"))
    message = one(queue)
    clock.advance(30)
    assert queue.extend([(message, 30)]).refused[message.id].startswith("MessageNotInflight")
    message = one(queue)
    queue.release([message])
    assert queue.extend([(message, 30)]).refused[message.id].startswith("MessageNotInflight")
    assert queue.visible == 1


def test_twelve_hours_count_from_the_receive_and_start_anew_with_the_next(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body"))
    clock.advance(100_000)  # how long it waited does not matter
    message = one(queue)
    clock.advance(5)
    result = queue.extend([(message, 43_200)])
    assert "beyond the limit [43200 seconds]" in result.beyond[message.id]
    assert queue.visible_at(message.id) == 100_030, "nothing changed"
    assert queue.extend([(message, 43_195)]).done
    clock.advance(43_195)
    assert queue.extend([(message, 1)]).refused[message.id].startswith("InvalidParameterValue")
    assert queue.delete([message]).refused[message.id].endswith("The receipt handle has expired.")
    again = one(queue)
    assert queue.extend([(again, 43_200)]).done


def test_an_old_receipt_deletes_nothing_on_a_standard_queue(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body"))
    stale = one(queue)
    clock.advance(30)
    fresh = one(queue)
    assert queue.delete([stale]).done == {stale.id}, "it says so, though"
    assert len(queue) == 1
    assert queue.delete([fresh]).done == {fresh.id}
    assert len(queue) == 0
    assert queue.delete([fresh]).done == {fresh.id}, "once more is no error"


def test_the_newest_receipt_deletes_even_after_its_lease(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body"))
    message = one(queue)
    clock.advance(31)
    assert queue.delete([message]).done
    assert len(queue) == 0


def test_the_receive_that_would_be_one_too_many_redrives(clock: FakeClock) -> None:
    dead = FakeQueue(clock, url="dead")
    queue = FakeQueue(clock, visibility_timeout=30, max_receives=2, dead_letters=dead)
    queue.send(None, Outgoing("poison", {"k": "v"}))
    for _ in range(2):
        one(queue)
        clock.advance(30)
        assert len(dead) == 0, "the move happens at a receive, not when it fails"
    assert queue.receive(1, 0) == []
    assert dead.messages == [Outgoing("poison", {"k": "v"})]
    assert queue.facts() == QueueFacts(max_receives=2, dead_letter_url="dead", fifo=False)


def test_sending_to_the_dead_letter_queue(clock: FakeClock) -> None:
    dead = FakeQueue(clock, url="dead")
    queue = FakeQueue(clock, dead_letters=dead)
    queue.send("dead", Outgoing("body"))
    assert (dead.bodies, queue.bodies) == (["body"], [])
    with pytest.raises(SettingsError, match="no queue at elsewhere"):
        queue.send("elsewhere", Outgoing("body"))


def test_a_fifo_group_waits_while_one_of_it_is_hidden(clock: FakeClock) -> None:
    queue = FakeQueue(clock, visibility_timeout=30, fifo=True)
    for number in range(3):
        queue.send(None, Outgoing(f"a{number}", group_id="a"))
    queue.send(None, Outgoing("b0", group_id="b"))
    first = one(queue)
    assert first.body == "a0"
    assert [message.body for message in queue.receive(10, 0)] == ["b0"]
    queue.delete([first])
    assert [message.body for message in queue.receive(10, 0)] == ["a1", "a2"]


def test_a_fifo_queue_swallows_the_same_message_for_five_minutes(clock: FakeClock) -> None:
    queue = FakeQueue(clock, fifo=True)
    same = Outgoing("body", group_id="a", deduplication_id="1")
    queue.send(None, same)
    clock.advance(299)
    queue.send(None, same)
    assert len(queue) == 1
    clock.advance(2)
    queue.send(None, same)
    assert len(queue) == 2
    with pytest.raises(NodeFaultError, match="MessageGroupId"):
        queue.send(None, Outgoing("body"))


def test_a_fifo_queue_refuses_a_delete_after_the_lease(clock: FakeClock) -> None:
    queue = FakeQueue(clock, visibility_timeout=30, fifo=True)
    queue.send(None, Outgoing("body", group_id="a"))
    message = one(queue)
    clock.advance(30)
    assert set(queue.delete([message]).refused) == {message.id}
    assert len(queue) == 1


def test_groups_of_a_standard_queue_hold_nothing_up(queue: FakeQueue) -> None:
    queue.send(None, Outgoing("a0", group_id="a"))
    queue.send(None, Outgoing("a1", group_id="a"))
    assert one(queue).group_id == "a"
    assert one(queue).body == "a1"


def test_beyond_the_in_flight_limit_a_long_poll_is_silent(clock: FakeClock) -> None:
    queue = FakeQueue(clock, visibility_timeout=30, in_flight_limit=2)
    for number in range(3):
        queue.send(None, Outgoing(str(number)))
    assert len(queue.receive(10, 0)) == 2
    assert queue.receive(10, 0) == []


def test_a_long_poll_ends_with_the_first_message_or_its_time(clock: FakeClock, queue: FakeQueue) -> None:
    brought: list[list[Message]] = []

    def poll() -> None:
        brought.append(queue.receive(10, 20))

    thread = threading.Thread(target=poll)
    thread.start()
    clock.settle()
    clock.advance(5)
    queue.send(None, Outgoing("body"))
    thread.join(5)
    assert [message.received_at for message in brought[0]] == [0], "from before the request"
    assert queue.visible_at(brought[0][0].id) == 35

    thread = threading.Thread(target=poll)
    thread.start()
    clock.settle()
    clock.advance(20)
    thread.join(5)
    assert brought[1] == []


def test_a_long_poll_sees_a_message_come_back(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body"))
    message = one(queue)
    queue.release([message], delay=10)
    brought: list[list[Message]] = []
    thread = threading.Thread(target=lambda: brought.append(queue.receive(1, 20)))
    thread.start()
    clock.settle()
    clock.advance(10)
    thread.join(5)
    assert brought[0][0].receive_count == 2


def test_faults_hit_entries_requests_or_answers(clock: FakeClock, queue: FakeQueue) -> None:
    for number in range(3):
        queue.send(None, Outgoing(str(number)))
    messages = queue.receive(3, 0)
    queue.script(
        "extend",
        Fault(code="InternalError", entries=frozenset({1})),
        Fault(code="ServiceUnavailable", message="outage"),
        Fault(code="RequestTimeout", applied=True),
        Fault(delay=3),
    )
    asked = [(message, 100) for message in messages]

    partial = queue.extend(asked)
    assert partial.done == {messages[0].id, messages[2].id}
    assert set(partial.failed) == {messages[1].id}

    clock.advance(1)
    whole = queue.extend(asked)
    assert set(whole.failed) == {message.id for message in messages}
    assert queue.visible_at(messages[0].id) == 100

    unheard = queue.extend(asked)
    assert len(unheard.failed) == 3
    assert queue.visible_at(messages[0].id) == 101

    thread = threading.Thread(target=lambda: queue.extend(asked))
    thread.start()
    clock.settle()
    clock.advance(3)
    thread.join(5)
    assert queue.visible_at(messages[0].id) == 104
    assert [call.operation for call in queue.calls if call.operation == "extend"] == ["extend"] * 3


def test_an_outage_ends_by_itself(clock: FakeClock, queue: FakeQueue) -> None:
    queue.send(None, Outgoing("body"))
    queue.outage(10)
    for attempt in (lambda: queue.receive(1, 0), lambda: queue.send(None, Outgoing("x"))):
        with pytest.raises(NodeFaultError, match="outage"):
            attempt()
    clock.advance(10)
    assert one(queue).receive_count == 1, "no receive was burnt"


def test_a_gate_holds_a_request(queue: FakeQueue) -> None:
    gate = Gate()
    queue.script("send", Fault(gate=gate))
    thread = threading.Thread(target=lambda: queue.send(None, Outgoing("body")))
    thread.start()
    assert gate.entered.wait(5)
    assert len(queue) == 0
    gate.leave.set()
    thread.join(5)
    assert len(queue) == 1


def test_more_than_ten_are_cut_into_requests(queue: FakeQueue) -> None:
    for number in range(20):
        queue.send(None, Outgoing(str(number)))
    messages = queue.receive(10, 0) + queue.receive(10, 0)
    queue.delete(messages[:13])
    assert [len(call.ids) for call in queue.calls if call.operation == "delete"] == [10, 3]
