# SPDX-License-Identifier: Apache-2.0
"""Copies of a message: before its receives, or its twelve hours, are used up."""

from __future__ import annotations

import json
from typing import Any

from structlog.testing import capture_logs

from worker.jobs.handover import copy_of
from worker.leases import LeaseState
from worker.queues import Message, Outgoing
from worker.receive.lineage import MOST_GENERATIONS, Lineage
from worker.testing.queue import FakeQueue, Fault

# As in conftest.
WINDOWS = 20
INTERVAL = 60.0
VISIBILITY = 30


def numbers(queue: FakeQueue) -> list[str | None]:
    return [message.attributes.get("sqscribe_generation") for message in queue.messages]


def test_a_job_that_advances_goes_on_in_a_copy_before_its_receives_are_used_up(tight: Any, expected: bytes) -> None:
    # Given a message that may be received four times, and workers that die each time
    tight.send({"tenant": "a"})
    tight.interrupted(4)
    tight.interrupted(2)
    # When it is received for the last time but one
    third = tight.worker()
    third.take()
    third.work()
    # Then a copy stands in its place, with all that belongs to it
    assert third.submitted == []
    assert third.outcomes() == {"handed_over": 1}
    (copy,) = tight.queue.messages
    assert copy.attributes == {"tenant": "a", "sqscribe_origin": "m1", "sqscribe_generation": "1"}
    # And whoever gets it decodes what is missing
    fourth = tight.worker()
    fourth.run()
    assert fourth.submitted == [WINDOWS - 6]
    assert tight.transcript == expected
    assert tight.result()["origin"] == "m1"
    assert tight.checkpoint() == []
    assert len(tight.queue) == 0


def test_one_that_does_not_advance_has_its_receives_and_no_more(tight: Any) -> None:
    # Given a job that advanced once, and whose copy never does
    tight.send()
    tight.interrupted()
    tight.interrupted(1)
    handing = tight.worker()
    handing.take()
    handing.work()
    for _ in range(4):
        dying = tight.worker()
        dying.take()
        assert dying.submitted == [WINDOWS - 9]
        dying.die()
        tight.lapse()
    # Then SQS moves the copy to the dead letters, and there is no other
    tight.worker().take()
    assert numbers(tight.dead_letters) == ["1"]
    assert len(tight.queue) == 0


def test_one_that_advances_at_its_last_receive_is_copied_then(tight: Any) -> None:
    tight.send()
    for _ in range(3):
        dying = tight.worker()
        dying.take()
        dying.die()
        tight.lapse()
    last = tight.worker()
    last.take()
    last.decode(3)
    last.pass_time(INTERVAL)
    assert last.outcomes() == {"handed_over": 1}
    assert numbers(tight.queue) == ["1"]
    fresh = tight.worker()
    fresh.take()
    assert fresh.submitted == [WINDOWS - 3]


def test_a_first_receive_is_never_the_last_but_one(make_world: Any) -> None:
    tight = make_world(max_receives=2)
    tight.send()
    worker = tight.worker()
    worker.take()
    worker.decode(3)
    worker.pass_time(INTERVAL)
    assert numbers(tight.queue) == [None]


def test_an_older_generation_is_deleted_unworked(tight: Any) -> None:
    # Given a worker that dies between the send of a copy and the delete of the old message
    tight.send()
    tight.interrupted(4)
    tight.interrupted(2)
    third = tight.worker()
    tight.queue.script("delete", Fault(code="InternalError"), times=50)
    third.take()
    third.work()
    third.die()
    tight.queue._faults.clear()
    assert numbers(tight.queue) == [None, "1"]
    # When the copy is received and then the old one
    fourth = tight.worker()
    fourth.take()
    assert fourth.submitted == [WINDOWS - 6]
    tight.lapse()
    fifth = tight.worker()
    fifth.take()
    fifth.work()
    # Then the old one goes without any work
    assert fifth.outcomes() == {"superseded": 1}
    assert fifth.submitted == []
    assert numbers(tight.queue) == ["1"]


def test_a_copy_that_cannot_be_sent_costs_the_job_nothing(tight: Any, expected: bytes) -> None:
    tight.send()
    tight.interrupted(4)
    tight.interrupted(2)
    tight.queue.script("send", Fault(code="InternalError"))
    third = tight.worker()
    third.run()
    assert third.submitted == [WINDOWS - 6]
    assert tight.transcript == expected


def test_a_job_of_several_in_a_message_is_handed_over_alone(tight: Any) -> None:
    # Given an event with two objects, of which one is a long job and the other keeps failing
    jobs = [
        {"job_id": "long", "source": str(tight.recording)},
        {"job_id": "gone", "source": str(tight.recording.parent / "gone.wav")},
    ]
    tight.queue.send(None, Outgoing(json.dumps(jobs)))
    tight.interrupted(4)
    tight.interrupted(2)
    worker = tight.worker()
    worker.take()
    worker.work()
    # Then the copy holds the long one alone
    (copy,) = (message for message in tight.queue.messages if "sqscribe_origin" in message.attributes)
    assert json.loads(copy.body)["job_id"] == "long"
    assert copy.attributes["sqscribe_origin"] == "m1"


def test_a_fifo_copy_stays_in_its_group_and_is_a_new_message(make_world: Any) -> None:
    tight = make_world(fifo=True, max_receives=4)
    tight.send(group="g")
    tight.interrupted(4)
    tight.interrupted(2)
    worker = tight.worker()
    worker.take()
    worker.work()
    (copy,) = tight.queue.messages
    assert copy.group_id == "g"
    assert copy.deduplication_id not in {None, copy.body}
    after = tight.worker()
    after.run()
    assert tight.result()["status"] == "succeeded"


def test_no_more_than_twenty_copies(tight: Any, expected: bytes) -> None:
    # Given the twentieth copy of a message, at its last receive but one
    last = {"sqscribe_origin": "m0", "sqscribe_generation": str(MOST_GENERATIONS)}
    tight.send(last)
    tight.interrupted(4)
    tight.interrupted(2)
    # Then no other is sent, and what is left of its receives is used
    third = tight.worker()
    third.run()
    assert third.submitted == [WINDOWS - 6]
    assert tight.transcript == expected
    assert len(tight.queue) == 0


def test_what_attributes_say_of_generations_is_not_trusted_blindly() -> None:
    def lineage(**attributes: str) -> Lineage:
        return Lineage.of(Message("m", "r", "b", 1, 0.0, attributes))

    assert lineage() == Lineage("m", 0)
    assert lineage(sqscribe_origin="", sqscribe_generation="") == Lineage("m", 0)
    assert lineage(sqscribe_origin="o", sqscribe_generation="3") == Lineage("o", 3)
    for nonsense in ("-1", "1e3", "٣", "99999", "x"):
        assert lineage(sqscribe_generation=nonsense) == Lineage("m", 0)


def test_a_copy_keeps_as_many_of_the_senders_attributes_as_fit() -> None:
    attributes = {f"a{number}": str(number) for number in range(10)}
    binary: dict[str, Any] = {
        "a1": {"DataType": "Number", "StringValue": "1"},
        "b": {"DataType": "Binary", "BinaryValue": b"\x00"},
    }
    message = Message("m", "r", "body", 9, 0.0, attributes, "g", binary)

    with capture_logs() as logs:
        copy = copy_of(message, "body", Lineage("o", 2), "job")

    assert list(copy.attributes) == [*(f"a{number}" for number in range(8)), "sqscribe_origin", "sqscribe_generation"]
    assert copy.typed == {"a1": binary["a1"]}
    assert logs[0]["names"] == ["a8", "a9", "b"]
    again = Message("n", "r", "body", 9, 0.0, copy.attributes, "g", copy.typed)
    assert copy_of(again, "body", Lineage("o", 3), "job").attributes == {**copy.attributes, "sqscribe_generation": "3"}
    small = copy_of(Message("m", "r", "body", 9, 0.0, {"x": "1"}, "g", {"b": binary["b"]}), "body", Lineage("o"), "j")
    assert (small.typed, small.group_id, small.body) == ({"b": binary["b"]}, "g", "body")


# -- twelve hours ------------------------------------------------------------------------------------------------------

TWELVE_HOURS = 12 * 3600.0


def test_a_job_outlasts_the_twelve_hours_of_its_message(world: Any, expected: bytes) -> None:
    # Given a job that gets on by a window an hour
    world.send()
    first = world.worker()
    first.take()
    began = world.clock.now()
    while not first.outcomes():
        first.decode(1)
        first.pass_time(3600)
    # Then it is handed over before SQS takes the message back, and nothing is lost
    assert first.outcomes() == {"handed_over": 1}
    assert world.clock.now() - began < TWELVE_HOURS + 3600
    assert numbers(world.queue) == ["1"]
    assert all(call.at - began < TWELVE_HOURS for call in world.queue.calls if call.operation == "delete")
    second = world.worker()
    second.run()
    assert second.submitted == [WINDOWS - 12]
    assert world.transcript == expected


def near_the_ceiling(world: Any, worker: Any) -> None:
    """Takes a worker to the moment at which nothing is left of the twelve hours but what is confirmed."""
    (lease,) = worker.components.leases._leases.values()
    while lease.state is not LeaseState.ENDING:
        world.clock.advance(worker.components.leases.seconds_until_due())
        worker.components.heartbeat._beat()


def test_what_is_finished_is_saved_before_the_copy_is_sent(world: Any) -> None:
    # Given a worker that saves once a day
    world.send()
    worker = world.worker(checkpoint_seconds=86_400)
    worker.take()
    worker.decode(5)
    near_the_ceiling(world, worker)
    worker.work()
    assert worker.outcomes() == {"handed_over": 1}
    calls = [call.operation for call in world.store.calls]
    assert calls[-3:] == ["put_if_absent", "put", "put"]  # manifest, increment, mark
    second = world.worker()
    second.take()
    assert second.submitted == [WINDOWS - 5]


def test_a_job_that_has_nothing_to_show_is_left_to_the_queue(world: Any) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    near_the_ceiling(world, worker)
    worker.pass_time(2 * VISIBILITY)
    assert worker.outcomes() == {"lease_lost": 1}
    assert numbers(world.queue) == [None]


def test_a_copy_that_fails_near_the_ceiling_is_tried_again_soon(world: Any) -> None:
    world.send()
    worker = world.worker(checkpoint_seconds=86_400)
    worker.take()
    worker.decode(5)
    near_the_ceiling(world, worker)
    world.queue.script("send", Fault(code="InternalError"))
    worker.work()
    assert numbers(world.queue) == [None]
    worker.pass_time(12)
    assert worker.outcomes() == {"handed_over": 1}


def test_the_last_generation_at_its_ceiling_fails_with_a_reason(make_world: Any) -> None:
    # Given the twentieth copy, at its only receive
    world = make_world(max_receives=1)
    world.send({"sqscribe_origin": "m0", "sqscribe_generation": str(MOST_GENERATIONS)})
    worker = world.worker()
    worker.take()
    worker.decode(5)
    near_the_ceiling(world, worker)
    worker.work()
    worker.work()
    assert world.result()["error"]["code"] == "interrupted"
    assert [letter.attributes["error_code"] for letter in world.dead_letters.messages] == ["interrupted"]
    assert len(world.queue) == 0


def test_a_copy_that_has_no_room_is_sent_as_the_job_alone(tight: Any) -> None:
    # Given a message of exactly the size that its queue allows, which leaves no room for two more attributes
    tight.send({"tenant": "a" * 5000})
    (sent,) = tight.queue.messages
    tight.queue.max_bytes = len(sent.body) + len("tenantString") + 5000
    tight.interrupted(4)
    tight.interrupted(2)
    # When it is received for the last time but one
    third = tight.worker()
    third.take()
    third.work()
    # Then the copy holds the job without the sender's attributes
    assert third.outcomes() == {"handed_over": 1}
    (copy,) = tight.queue.messages
    assert set(copy.attributes) == {"sqscribe_origin", "sqscribe_generation"}
    assert json.loads(copy.body)["job_id"] == "long"
