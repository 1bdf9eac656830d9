# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from sqscribe.errors import NodeFaultError, SettingsError
from sqscribe.job import Job, JobDefaults
from worker.leases import LeaseTable
from worker.outcomes import Disposition
from worker.queues import Message, Outgoing
from worker.receive.delivery import Delivery
from worker.receive.intake import Intake, Task
from worker.receive.messages import MessageParser, Rejected
from worker.testing.clock import FakeClock
from worker.testing.queue import FakeQueue, Fault, Gate

WAIT, PAUSE, LONGEST = 6.0, 0.25, 30.0


class Bench:
    """An intake on a queue, with the room that a test gives and the settling that a pipeline would do."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.queue = FakeQueue(self.clock)
        self.leases = LeaseTable(self.queue, self.clock, visibility_timeout=300)
        self.room = 10
        self.asked: list[int] = []
        self.settled: list[Disposition] = []
        self.parser = MessageParser(JobDefaults("s3://bucket/out"))
        self.intake = Intake(
            self.queue,
            self.leases,
            lambda message: self.parser.parse(message.body, message.id),
            lambda: self.room,
            self.settle,
            self.clock,
            wait=WAIT,
            pause=PAUSE,
            longest_pause=LONGEST,
        )
        receive = self.queue.receive

        def noted(limit: int, wait: float) -> list[Message]:
            self.asked.append(limit)
            return receive(limit, wait)

        self.queue.receive = noted  # type: ignore[method-assign]  # FakeQueue's log has what came, not what was asked

    def settle(self, delivery: Delivery, disposition: Disposition) -> None:
        self.settled.append(disposition)
        final = delivery.settle(disposition)
        if final is Disposition.RELEASE:
            self.leases.release([delivery.lease])

    def send(self, count: int) -> None:
        for number in range(count):
            self.queue.send(None, Outgoing(f"https://example.org/{number}.mp3"))

    def attempts(self) -> int:
        """Receives that were asked for."""
        return len(self.asked)


@pytest.fixture
def bench() -> Iterator[Bench]:
    built = Bench()
    yield built
    built.intake.stop()


def next_in_thread(intake: Intake, timeout: float = 5.0) -> tuple[threading.Thread, list[Task | None]]:
    got: list[Task | None] = []
    thread = threading.Thread(target=lambda: got.append(intake.next(timeout)), daemon=True)
    thread.start()
    return thread, got


def joined(thread: threading.Thread) -> None:
    thread.join(10)
    assert not thread.is_alive()


def test_one_receive_brings_jobs_for_several_downloaders(bench: Bench) -> None:
    bench.send(5)
    tasks = [bench.intake.next(1) for _ in range(5)]
    sources = [task.job.source for task in tasks if task and isinstance(task.job, Job)]
    assert sources == [f"https://example.org/{number}.mp3" for number in range(5)]
    assert bench.attempts() == 1
    assert bench.leases.count == 5


@pytest.mark.parametrize(("room", "asked"), [(1, 1), (3, 3), (10, 10), (64, 10)])
def test_no_more_is_asked_for_than_there_is_room_for(bench: Bench, room: int, asked: int) -> None:
    bench.send(12)
    bench.room = room
    assert bench.intake.next(1)
    assert bench.asked == [asked]
    assert bench.leases.count == asked == bench.intake.waiting + 1
    assert bench.queue.visible == 12 - asked


def test_nothing_is_asked_for_while_there_is_no_room(bench: Bench) -> None:
    # Given messages, and no room
    bench.send(3)
    bench.room = 0
    # When a downloader asks, then it rests for a moment on the clock and comes back with nothing
    thread, got = next_in_thread(bench.intake)
    bench.clock.settle()
    assert bench.clock.now() == 1_000.0
    bench.clock.advance(PAUSE)
    joined(thread)
    assert (got, bench.asked) == ([None], [])
    # And once there is room, the messages come
    bench.room = 2
    assert bench.intake.next(1)
    assert bench.asked == [2]


def test_an_empty_poll_ends_with_nothing(bench: Bench) -> None:
    thread, got = next_in_thread(bench.intake)
    bench.clock.settle()
    bench.clock.advance(WAIT)
    joined(thread)
    assert got == [None]


def test_one_downloader_polls_and_the_others_wait_for_what_it_brings(bench: Bench) -> None:
    # Given one in a long poll
    poller, first = next_in_thread(bench.intake)
    bench.clock.settle()
    others = [next_in_thread(bench.intake, timeout=20.0) for _ in range(2)]
    # When messages come
    bench.send(3)
    for thread in (poller, *(thread for thread, _ in others)):
        joined(thread)
    # Then each has one, or finds the next one at once: of a poll that brought one message it was that one
    got = [task for task in (*first, *(task for _, some in others for task in some)) if task]
    assert len(got) + bench.intake.waiting == bench.leases.count
    assert got


def test_a_downloader_that_waits_for_anothers_poll_has_a_time_out_of_its_own(bench: Bench) -> None:
    poller, _ = next_in_thread(bench.intake)
    bench.clock.settle()
    assert bench.intake.next(0.01) is None
    assert bench.attempts() == 1
    bench.clock.advance(WAIT)
    joined(poller)


@pytest.mark.parametrize("error", [NodeFaultError("away"), SettingsError("refused")])
def test_a_queue_that_fails_is_asked_again_ever_more_rarely_until_it_answers(bench: Bench, error: Exception) -> None:
    def fails(pause: float) -> None:
        """One receive that fails, and is followed by a rest of just so long."""
        bench.queue.script("receive", Fault(raises=error))
        thread, got = next_in_thread(bench.intake)
        bench.clock.settle()
        assert bench.intake.trouble == str(error)
        bench.clock.advance(pause - 0.01)
        bench.clock.settle()
        bench.clock.advance(0.02)
        joined(thread)
        assert got == [None]

    # Given a queue that fails and fails, the pauses grow, but not for ever
    for pause in (PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE, 16 * PAUSE, 32 * PAUSE, 64 * PAUSE, LONGEST, LONGEST):
        fails(pause)
    assert bench.attempts() == 9
    # When it answers again, then there is no trouble any more, and the next failure begins with a short pause
    bench.send(1)
    assert bench.intake.next(1)
    assert bench.intake.trouble is None
    fails(PAUSE)


def test_an_outage_of_days_ends_no_downloader(bench: Bench) -> None:
    bench.intake._failures = 100_000
    bench.queue.script("receive", Fault(raises=NodeFaultError("away")))
    thread, got = next_in_thread(bench.intake)
    bench.clock.settle()
    bench.clock.advance(LONGEST)
    joined(thread)
    assert got == [None]


def test_a_stop_ends_the_pause_after_a_failure(bench: Bench) -> None:
    bench.queue.script("receive", Fault(raises=NodeFaultError("away")), times=10)
    for _ in range(9):
        thread, _got = next_in_thread(bench.intake)
        bench.clock.settle()
        bench.clock.advance(LONGEST)
        joined(thread)
    thread, got = next_in_thread(bench.intake)
    bench.clock.settle()
    bench.intake.stop()
    joined(thread)
    assert got == [None]


def test_a_stop_gives_back_what_was_not_begun(bench: Bench) -> None:
    bench.send(4)
    begun = bench.intake.next(1)
    bench.intake.stop()
    assert bench.settled == [Disposition.RELEASE] * 3
    assert bench.queue.visible == 3
    assert begun
    assert bench.leases.count == 1
    assert bench.intake.waiting == 0
    # And nothing is received any more
    assert bench.intake.next(1) is None
    assert bench.attempts() == 1


def test_messages_that_a_poll_brings_after_the_stop_go_back_at_once(bench: Bench) -> None:
    # Given a poll that is under way when the worker is told to stop
    gate = Gate()
    bench.queue.script("receive", Fault(gate=gate))
    bench.send(2)
    bench.queue.send(None, Outgoing(json.dumps({"Records": [record("a"), record("b")]})))
    thread, got = next_in_thread(bench.intake)
    assert gate.entered.wait(10)
    bench.intake.stop()
    # When it brings messages all the same
    gate.leave.set()
    joined(thread)
    # Then they are visible again at once, the one with two jobs too, and none is begun
    assert got == [None]
    assert bench.queue.visible == 3
    assert bench.leases.count == 0
    releases = [call for call in bench.queue.calls if call.operation == "release"]
    assert Counter(seconds for call in releases for seconds in call.seconds) == {0: 3}


def test_the_end_of_a_poll_can_be_waited_for(bench: Bench) -> None:
    # Given a poll that is under way when the worker is told to stop
    assert bench.intake.wait_polled(0.0)
    gate = Gate()
    bench.queue.script("receive", Fault(gate=gate))
    bench.send(1)
    thread, _ = next_in_thread(bench.intake)
    assert gate.entered.wait(10)
    bench.intake.stop()
    # Then whoever waits learns that it still is
    assert not bench.intake.wait_polled(0.01)
    # And, once it has ended, finds its message given back
    gate.leave.set()
    assert bench.intake.wait_polled(10)
    assert bench.queue.visible == 1
    joined(thread)


def record(key: str) -> dict[str, object]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "media"}, "object": {"key": key, "size": 5, "eTag": "e", "sequencer": "0A"}},
    }


def test_each_job_of_a_message_is_dealt_out_with_the_one_delivery(bench: Bench) -> None:
    bench.queue.send(None, Outgoing(json.dumps({"Records": [record("a"), record("b"), {"eventSource": "aws:s3"}]})))
    tasks = [bench.intake.next(1) for _ in range(3)]
    assert all(tasks)
    assert len({id(task.delivery) for task in tasks if task}) == 1
    assert [isinstance(task.job, Rejected) for task in tasks if task] == [False, False, True]
    assert not any(task.delivery.single_job for task in tasks if task)
    assert bench.leases.count == 1


def test_a_message_without_a_job_is_done(bench: Bench) -> None:
    bench.queue.send(None, Outgoing(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})))
    assert bench.intake.next(1) is None
    assert bench.settled == [Disposition.DELETE]


def test_a_message_that_came_back_while_it_is_held_is_not_begun_twice(bench: Bench) -> None:
    # Given a job whose lease has lapsed, so that the queue hands its message out again
    bench.send(1)
    first = bench.intake.next(1)
    assert first
    bench.clock.advance(301)
    # When it is received again
    assert bench.intake.next(1) is None
    # Then the work on it goes on, with the newest receipt
    assert bench.leases.count == 1
    assert first.delivery.message.receive_count == 2


def test_a_failure_of_the_parser_is_nobodys_to_swallow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> object:
        raise RuntimeError("a bug")

    monkeypatch.setattr(bench.parser, "parse", breaks)
    bench.send(1)
    with pytest.raises(RuntimeError, match="a bug"):
        bench.intake.next(1)
    # And another downloader may receive
    monkeypatch.undo()
    bench.send(1)
    assert bench.intake.next(1)
