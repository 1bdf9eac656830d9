# SPDX-License-Identifier: Apache-2.0
"""What every kind of queue promises, the fakes included; a kind that has no maker here fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import worker.queues
from worker.aws import AwsClients
from worker.node.clock import SystemClock
from worker.queues import Outgoing, Queue
from worker.queues.choice import open_queue
from worker.queues.memory import MemoryQueue
from worker.queues.sqs import SqsQueue
from worker.testing.clock import FakeClock
from worker.testing.queue import FakeQueue

VISIBILITY = 60


def sqs(aws: Any) -> Queue:
    return open_queue(aws.queue().url, AwsClients(), SystemClock(), VISIBILITY)


#: By its class: how a test gets an empty one. Messages stay hidden for `VISIBILITY`, longer than any test takes.
MAKERS: dict[type, Callable[[Any], Queue]] = {
    SqsQueue: sqs,
    MemoryQueue: lambda _: MemoryQueue(SystemClock(), visibility_timeout=VISIBILITY),
    FakeQueue: lambda _: FakeQueue(FakeClock(), visibility_timeout=VISIBILITY),
}


@pytest.fixture(params=MAKERS.values(), ids=[kind.__name__ for kind in MAKERS])
def queue(request: pytest.FixtureRequest, aws: Any) -> Queue:
    made: Queue = request.param(aws)
    return made


def test_every_kind_is_tested() -> None:
    methods = {name for name, _ in inspect.getmembers(Queue, inspect.isfunction) if not name.startswith("_")}
    modules = [import_module(f"worker.queues.{path.stem}") for path in Path(worker.queues.__path__[0]).glob("[!_]*.py")]
    kinds = {
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind is not Queue and all(hasattr(kind, name) for name in methods)
    }
    assert kinds | {FakeQueue} == set(MAKERS)


def test_what_is_sent_is_received(queue: Queue) -> None:
    queue.send(None, Outgoing("a body ü", {"tenant": "acme"}))

    (message,) = queue.receive(10, 0)

    assert (message.body, message.attributes, message.receive_count) == ("a body ü", {"tenant": "acme"}, 1)
    assert queue.receive(10, 0) == [], "hidden while its lease lasts"


def test_no_more_than_asked_for(queue: Queue) -> None:
    for number in range(3):
        queue.send(None, Outgoing(str(number)))

    assert len(queue.receive(2, 0)) <= 2


def test_a_released_message_comes_again_with_another_receipt(queue: Queue) -> None:
    queue.send(None, Outgoing("x"))
    (first,) = queue.receive(1, 0)

    assert queue.release([first]).done == {first.id}

    (second,) = queue.receive(1, 0)
    assert (second.id, second.receive_count) == (first.id, 2)
    assert second.receipt != first.receipt


def test_one_released_with_a_delay_does_not_come_before(queue: Queue) -> None:
    queue.send(None, Outgoing("x"))
    (message,) = queue.receive(1, 0)

    assert queue.release([message], VISIBILITY).done == {message.id}
    assert queue.receive(1, 0) == []


def test_batches_of_any_length_are_extended_and_deleted(queue: Queue) -> None:
    # Given more messages than fit into a request
    for number in range(23):
        queue.send(None, Outgoing(str(number)))
    messages = []
    while got := queue.receive(10, 0):
        messages += got
    ids = {message.id for message in messages}
    assert len(ids) == 23

    # When all are extended, then deleted, each is answered for
    assert queue.extend([(message, VISIBILITY) for message in messages]).done == ids
    assert queue.delete(messages).done == ids

    # Then releasing them brings none of them back
    queue.release(messages)
    assert queue.receive(10, 0) == []


def test_nothing_to_do_is_done(queue: Queue) -> None:
    assert not queue.extend([]).done
    assert not queue.release([]).done
    assert not queue.delete([]).done


def test_facts_are_known(queue: Queue) -> None:
    facts = queue.facts()
    assert facts.fifo is False
    assert facts.max_receives is None or facts.max_receives > 0
