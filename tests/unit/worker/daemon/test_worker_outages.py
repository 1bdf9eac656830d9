# SPDX-License-Identifier: Apache-2.0
"""The whole worker while a source, the store, the disk or the engine fails: it outlasts that, at no receive's cost."""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, Witness
from stages.fetch import FetchLimits
from worker.node.faults import NodeFaults
from worker.queues import Outgoing
from worker.testing.media_server import MediaServer
from worker.testing.queue import FakeQueue, Fault
from worker.testing.waiting import eventually
from worker.testing.world import OUTPUT, SPOKEN, World


@pytest.fixture
def nowhere() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/gone.mp3"


def test_a_source_that_fails_for_now_comes_back_after_a_while(world: World, nowhere: str) -> None:
    # Given a source that nobody listens at
    world.send({"source": nowhere, "job_id": "one"})
    world.start()
    # Then its message is hidden for a back-off, and nothing is recorded
    eventually(lambda: any(call.operation == "release" for call in world.queue.calls), seconds=40)
    assert world.queue.visible == 0
    assert len(world.queue) == 1
    assert world.store.objects == {}


def test_a_source_that_fails_at_the_last_receive_is_given_up(make: Callable[..., World], nowhere: str) -> None:
    world = make(max_receives=1)
    world.send({"source": nowhere, "job_id": "one"})
    world.start()
    eventually(lambda: not len(world.queue), seconds=40)
    assert (world.result("one") or {})["error"]["code"] == "source_unreachable"
    assert [letter.attributes["error_code"] for letter in world.dead_letters.messages] == ["source_unreachable"]


@pytest.fixture
def late_media() -> Iterator[MediaServer]:
    """A server on all of this machine's addresses, to which nobody gets through so far."""
    with MediaServer("", listening=False) as server:
        yield server


def test_sources_that_all_fall_silent_are_the_nodes_fault_and_burn_no_receive(
    make: Callable[..., World], late_media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given four sources on different hosts, to none of which this node finds a way
    monkeypatch.setattr("worker.build.FetchLimits", partial(FetchLimits, attempts=1))
    world = make(shutdown_grace=1)
    jobs = [f"job-{number}" for number in range(1, 6)]
    for number, job in enumerate(jobs[:4], 1):
        world.send({"source": late_media.url("hello.wav", f"127.0.0.{number}"), "job_id": job})
    daemon = world.start()
    told = world.watch_room()
    eventually(lambda: told[-1:] == [0])
    # Then two have been taken at their word, and come back after a while; the others are kept, and it is said why
    eventually(lambda: sum(call.operation == "release" for call in world.queue.calls) == 2)
    released = [message for call in world.queue.calls if call.operation == "release" for message in call.ids]
    assert "nor does any other source answer" in daemon.status()["trouble"][0]
    # And nothing more is received; the node is not ready, and not given up either
    world.send({"source": late_media.url("hello.wav", "127.0.0.5"), "job_id": jobs[4]})
    asked = len(told)
    eventually(lambda: len(told) > asked + 2)
    assert told[asked:] == [0] * (len(told) - asked)
    assert world.queue.visible == 1
    eventually(lambda: not world.components.health.ready().ok)
    assert world.components.health.live().ok
    # When the sources can be reached again
    late_media.listen()
    # Then what was kept, and what comes now, is done in its first receive
    kept = [job for number, job in enumerate(jobs, 1) if f"m{number}" not in released]
    eventually(lambda: all(world.result(job) for job in kept), seconds=60)
    assert [(world.result(job) or {})["attempts"] for job in kept] == [1, 1, 1]
    eventually(lambda: world.components.health.ready().ok)


def test_a_dead_letter_queue_that_is_away_is_outlasted_and_burns_no_receive(world: World, media: MediaServer) -> None:
    world.dead_letters.script("send", Fault(code="ServiceUnavailable"), times=2)
    world.send({"source": media.url("broken.mp3"), "job_id": "one"})
    world.start()
    eventually(lambda: not len(world.queue), seconds=40)
    assert [letter.attributes["error_code"] for letter in world.dead_letters.messages] == ["media_unreadable"]
    assert (world.result("one") or {})["attempts"] == 1
    assert not any(call.operation == "release" for call in world.queue.calls)


def test_a_store_that_is_away_is_outlasted_and_burns_no_receive(world: World, media: MediaServer) -> None:
    # Given a store that fails three times in the middle of publishing
    world.store.script("put_if_absent", NodeFaultError("the store is away"), times=3)
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    world.start()
    eventually(lambda: not len(world.queue), seconds=40)
    # Then the job is done in its first receive
    assert (world.result("one") or {})["attempts"] == 1
    assert not any(call.operation == "release" for call in world.queue.calls)


def test_nothing_is_received_while_the_store_is_away(make: Callable[..., World], media: MediaServer) -> None:
    # Given a worker with short leases whose polls last for 0.3 s, and a store that stays away
    world = make(shutdown_grace=1, visibility_timeout=2)
    world.store.script("put_if_absent", NodeFaultError("the store is away"), times=1000)
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    daemon = world.start()
    eventually(lambda: daemon.status()["trouble"])
    threading.Event().wait(0.5)  # the poll that was under way ends
    # When another message comes
    world.send({"source": media.url("hello.wav"), "job_id": "two"})
    threading.Event().wait(1.0)  # time in which a worker that does not pause would take it
    # Then it is left to others, the node is not ready, and it is not given up either
    assert world.queue.visible == 1
    assert not world.components.health.ready().ok
    assert world.components.health.live().ok
    # And the lease of the first one goes on all the while
    eventually(lambda: sum(call.operation == "extend" for call in world.queue.calls) >= 5)
    assert world.queue.visible == 1


def fails_twice(work: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    failures = [error, error]

    def failing(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return work(*args, **options)

    return failing


@pytest.mark.parametrize("step", ["folder", "segment"])
def test_a_disk_that_fails_at_any_step_burns_no_receive(
    world: World, media: MediaServer, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    # Given a disk on which no folder can be made, or from which the audio cannot be read back
    world.start()
    if step == "folder":
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr("worker.node.scratch.tempfile.mkdtemp", fails_twice(tempfile.mkdtemp, full))
    else:
        segmenter = world.components.pipeline._preparer._segmenter
        broken = NodeFaultError("the PCM file ends early")
        monkeypatch.setattr(segmenter, "segment", fails_twice(segmenter.segment, broken))
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    # Then the job is done in its first receive all the same, and leaves nothing
    eventually(lambda: not len(world.queue), seconds=40)
    assert (world.result("one") or {})["attempts"] == 1
    assert not any(call.operation == "release" for call in world.queue.calls)
    assert world.scratch_files() == []
    assert world.components.scratch.used == 0


def test_nothing_is_received_while_the_scratch_space_has_no_room(
    make: Callable[..., World], media: MediaServer
) -> None:
    # Given a worker of whose scratch space one source takes nearly all
    world = make(scratch_bytes=1 << 20, shutdown_grace=1)
    world.send({"source": media.endless, "job_id": "one"})
    world.start()
    told = world.watch_room()
    eventually(lambda: told[-1:] == [0])
    # When another message comes
    world.send({"source": media.url("hello.wav"), "job_id": "two"})
    asked = len(told)
    eventually(lambda: len(told) > asked + 2)
    # Then it is left to others
    assert told[asked:] == [0] * (len(told) - asked)
    assert world.queue.visible == 1


def test_an_engine_that_dies_costs_no_job_anything(world: World, media: MediaServer) -> None:
    # Given a job of several windows, of which the engine has finished one when it dies
    world.engine.hold()
    world.send({"source": media.url("briefing.m4a"), "job_id": "one"})
    world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.release(1)
    world.engine.die()
    world.engine.release()
    eventually(lambda: not len(world.queue))
    # Then the job is done all the same, every window once
    transcript = json.loads(world.store.objects[f"{OUTPUT}/one/transcript.json"])
    assert transcript["text"].count(SPOKEN) == len(world.engine.submitted[0].windows)


def test_an_engine_that_hangs_is_replaced(make: Callable[..., World], media: MediaServer) -> None:
    world = make(engine_stall_seconds=1)
    world.engine.hold()
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.hang()
    world.engine.release()
    eventually(lambda: not len(world.queue))
    assert (world.result("one") or {})["status"] == "succeeded"
    assert b"sqscribe_engine_restarts_total 1.0" in world.components.metrics.render()[1]


def test_nothing_is_received_while_the_engine_restarts(make: Callable[..., World], media: MediaServer) -> None:
    # Given a worker whose polls last for 0.3 s, with a job in the engine when that is lost
    world = make(shutdown_grace=1)
    world.engine.hold()
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    daemon = world.start()
    eventually(lambda: world.engine.submitted)
    told = world.watch_room()
    world.engine.lose()
    eventually(lambda: told[-1:] == [0])
    # When another message comes
    world.send({"source": media.url("hello.wav"), "job_id": "two"})
    asked = len(told)
    eventually(lambda: len(told) > asked + 2)
    # Then it is left to others, and the node is not ready, though it lives
    assert told[asked:] == [0] * (len(told) - asked)
    assert world.queue.visible == 1
    eventually(lambda: not world.components.health.ready().ok)
    assert world.components.health.ready().reasons == ("engine: lost (exit code -9), and not ready again yet",)
    assert daemon.status()["trouble"] == ["lost (exit code -9), and not ready again yet"]
    assert world.components.health.live().ok
    # And once it is back, both are done, each in its first receive
    world.engine.release()
    world.engine.come_back()
    eventually(lambda: not len(world.queue))
    assert [(world.result(job) or {})["attempts"] for job in ("one", "two")] == [1, 1]
    eventually(lambda: world.components.health.ready().ok)
    assert daemon.status()["trouble"] == []


def test_jobs_whose_own_steps_fail_go_back_while_the_others_go_on(
    make: Callable[..., World], media: MediaServer
) -> None:
    # Given three jobs whose objects the store never takes, and one of which it never gives back what stands
    world = make(max_receives=1, uploaders=1, downloaders=1)
    for name in ("bad-1", "bad-2", "bad-3"):
        world.store.refuse("put_if_absent", f"/{name}/", NodeFaultError(f"500 for {name}", witness=Witness.WRITE))
    world.store.refuse("get", "/bad-4/", NodeFaultError("500 for bad-4", witness=Witness.READ))
    good = [f"good-{number}" for number in range(8)]
    for job in ("bad-1", "bad-2", *good[:4], "bad-3", "bad-4", *good[4:]):
        world.send({"source": media.url("hello.wav"), "job_id": job})
    # When a worker with a single thread for each stage has them
    world.start()
    eventually(lambda: not len(world.queue))
    # Then the good ones are done, and the others are dead letters with their reason
    assert [world.status(job) for job in good] == ["succeeded"] * len(good)
    letters = {json.loads(letter.body)["job_id"]: letter.attributes for letter in world.dead_letters.messages}
    assert set(letters) == {"bad-1", "bad-2", "bad-3", "bad-4"}
    for name, attributes in letters.items():
        assert attributes["error_code"] == "storage_unavailable"
        assert f"500 for {name}" in attributes["error_message"]


def test_one_dead_letter_that_never_gets_through_does_not_stop_the_worker(
    make: Callable[..., World], media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a dead-letter queue that fails for one letter, and a worker that doubts after half a second
    monkeypatch.setattr("worker.build.NodeFaults", partial(NodeFaults, first=0.05, longest=0.2, doubt=0.5))
    world = make(max_receives=9, shutdown_grace=1)
    take = world.dead_letters.send

    def send(url: str | None, outgoing: Outgoing) -> None:
        if "unlucky" in outgoing.body:
            raise NodeFaultError("500 for this letter")
        take(url, outgoing)

    monkeypatch.setattr(world.dead_letters, "send", send)
    world.send("unlucky")
    world.start()
    eventually(lambda: world.components.faults.current)
    # When others come, good and bad
    for number in range(4):
        world.send({"source": media.url("hello.wav"), "job_id": f"good-{number}"})
    # Then the good ones are done all the same
    eventually(lambda: all(world.status(f"good-{number}") for number in range(4)))
    # And once others' letters get through, that one goes back
    never = threading.Event()

    def sent_back() -> bool:
        world.send("no job either")
        never.wait(0.1)
        return any(call.operation == "release" for call in world.queue.calls)

    eventually(sent_back)


def test_a_failure_that_its_own_output_refuses_is_recorded_below_the_workers(
    make: Callable[..., World], media: MediaServer
) -> None:
    # Given a job whose own output refuses, and no dead-letter queue
    world = make()
    world.queue = FakeQueue(world.clock, visibility_timeout=30)
    for operation in ("get", "put_if_absent"):
        world.store.refuse(operation, "s3://theirs/", PermanentError(ErrorCode.OUTPUT_FORBIDDEN, "no such bucket"))
    world.send({"source": media.url("hello.wav"), "job_id": "one", "output": "s3://theirs/x"})
    world.start()
    eventually(lambda: not len(world.queue))
    # Then its failure is not lost with its message
    assert (world.result("one") or {})["error"] == {"code": "output_forbidden", "message": "no such bucket"}


def test_a_failure_that_nothing_can_tell_of_is_not_given_up(make: Callable[..., World], media: MediaServer) -> None:
    # Given a file that is no media, whose failure the store does not take, and no dead-letter queue
    world = make()
    world.queue = FakeQueue(world.clock, visibility_timeout=30)
    world.store.refuse("put_if_absent", "/one/", NodeFaultError("500", witness=Witness.WRITE))
    world.send({"source": media.url("broken.mp3"), "job_id": "one"})
    world.start()
    eventually(lambda: any(call.operation == "release" for call in world.queue.calls))
    assert len(world.queue) == 1
