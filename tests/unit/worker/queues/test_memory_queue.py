# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import pytest

from sqscribe.errors import SettingsError
from worker.node.clock import SystemClock
from worker.queues import Message, Outgoing
from worker.queues.memory import MemoryQueue
from worker.testing.clock import FakeClock


def test_messages_come_in_order_and_stay_hidden_until_their_time() -> None:
    clock = FakeClock()
    queue = MemoryQueue(clock, visibility_timeout=30, max_receives=5)
    for number in range(3):
        queue.send(None, Outgoing(str(number), {"n": str(number)}))
    first, second = queue.receive(2, 0)
    assert (first.body, second.body, first.attributes) == ("0", "1", {"n": "0"})
    assert [message.body for message in queue.receive(10, 0)] == ["2"]
    clock.advance(20)
    assert queue.extend([(second, 30)]).done == {second.id}
    clock.advance(10)
    again = queue.receive(10, 0)
    assert [message.body for message in again] == ["0", "2"]
    assert [message.receive_count for message in again] == [2, 2]
    assert queue.facts().max_receives == 5


def test_old_receipts_do_nothing() -> None:
    clock = FakeClock()
    queue = MemoryQueue(clock, visibility_timeout=30)
    queue.send(None, Outgoing("body"))
    (old,) = queue.receive(1, 0)
    clock.advance(30)
    assert set(queue.extend([(old, 30)]).refused) == {old.id}, "not in flight"
    (new,) = queue.receive(1, 0)
    assert set(queue.extend([(old, 30)]).refused) == {old.id}
    assert set(queue.delete([old]).refused) == {old.id}
    assert len(queue) == 1
    assert queue.delete([new]).done == {new.id}
    assert len(queue) == 0


def test_release_makes_visible_after_a_delay() -> None:
    clock = FakeClock()
    queue = MemoryQueue(clock, visibility_timeout=30)
    queue.send(None, Outgoing("body"))
    (message,) = queue.receive(1, 0)
    assert queue.release([message], delay=5).done
    assert queue.receive(1, 0) == []
    clock.advance(5)
    assert len(queue.receive(1, 0)) == 1


def poll(queue: MemoryQueue, wait: float) -> tuple[threading.Thread, list[Message], threading.Event]:
    brought: list[Message] = []
    begun = threading.Event()

    def run() -> None:
        begun.set()
        brought.extend(queue.receive(1, wait))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(5)
    return thread, brought, begun


def test_a_long_poll_is_woken_by_a_message() -> None:
    queue = MemoryQueue(SystemClock(), visibility_timeout=30)
    thread, brought, _ = poll(queue, 60)
    queue.send(None, Outgoing("body"))
    thread.join(5)
    assert [message.body for message in brought] == ["body"]


def test_a_long_poll_is_woken_by_a_release_and_by_time() -> None:
    queue = MemoryQueue(SystemClock(), visibility_timeout=60)
    queue.send(None, Outgoing("body"))
    (message,) = queue.receive(1, 0)
    thread, brought, _ = poll(queue, 60)
    queue.release([message])
    thread.join(5)
    assert brought[0].receive_count == 2

    queue.extend([(brought[0], 0)])
    short = MemoryQueue(SystemClock(), visibility_timeout=0)
    assert short.receive(1, 0.01) == []


def test_close_ends_a_long_poll() -> None:
    queue = MemoryQueue(SystemClock(), visibility_timeout=30)
    thread, brought, _ = poll(queue, 60)
    queue.close()
    thread.join(5)
    assert not thread.is_alive()
    assert brought == []


def test_it_has_no_neighbours() -> None:
    with pytest.raises(SettingsError):
        MemoryQueue(SystemClock(), visibility_timeout=30).send("elsewhere", Outgoing("body"))
