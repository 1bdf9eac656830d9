# SPDX-License-Identifier: Apache-2.0
"""How the whole worker ends: told to, idle, or because it cannot work; its messages go back inside the grace."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from sqscribe.errors import Cancelled, CancelReason, ExitCode
from worker.connect import POLL_SHARE_OF_GRACE
from worker.lifecycle import Intervals, Phase
from worker.outcomes import JobOutcome, Stage
from worker.testing.media_server import MediaServer
from worker.testing.queue import Fault, Gate
from worker.testing.waiting import eventually
from worker.testing.world import OUTPUT, SPOKEN, World


def test_a_lost_lease_ends_the_work_and_nothing_is_written(make: Callable[..., World], media: MediaServer) -> None:
    # Given a job in the engine whose message is taken away from us
    world = make(visibility_timeout=3)
    world.engine.hold()
    world.queue.script("extend", Fault(code="ReceiptHandleIsInvalid", entries=frozenset({0})), times=5)
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    world.start()
    eventually(lambda: world.engine.submitted)
    # Then the engine is told to drop it once the queue refuses to renew
    eventually(lambda: world.engine.cancelled)
    world.engine.release()
    # And nothing of it stands, nor is its message touched
    assert world.store.objects == {}
    assert {call.operation for call in world.queue.calls} <= {"send", "receive", "extend"}
    eventually(lambda: world.components.pipeline.totals().jobs.get(JobOutcome.LEASE_LOST))


@pytest.mark.parametrize("held_in", [Stage.INFERENCE, Stage.FETCH])
def test_a_stop_gives_everything_back_at_once(make: Callable[..., World], media: MediaServer, held_in: Stage) -> None:
    # Given jobs in the engine, or in a fetch that hangs, and others that wait
    world = make()
    world.engine.hold()
    source = media.url("hello.wav") if held_in is Stage.INFERENCE else media.endless
    for number in range(8):
        world.send({"source": source, "job_id": f"job-{number}"})
    world.start()
    eventually(lambda: world.components.pipeline.jobs.count(held_in) >= 3)
    # When the worker is told to stop
    begun = time.monotonic()
    assert world.stop() is ExitCode.DONE
    # Then all messages are visible again within the grace, and nothing is left behind
    assert time.monotonic() - begun < world.settings.shutdown_grace
    assert world.queue.visible == 8
    assert world.store.objects == {}
    assert world.scratch_files() == []


def test_what_is_finished_while_the_worker_drains_is_published_and_deleted(
    make: Callable[..., World], media: MediaServer
) -> None:
    # Given a job in the engine of a worker with short leases that is told to stop
    world = make(visibility_timeout=2, shutdown_grace=10)
    world.engine.hold()
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    daemon = world.start()
    eventually(lambda: world.engine.submitted)
    daemon.stop(ExitCode.DONE, "the test says so")
    eventually(lambda: daemon.phase is Phase.DRAINING)
    # Then its lease is renewed all the while
    begun = world.clock.now()
    eventually(lambda: sum(call.operation == "extend" and call.at > begun for call in world.queue.calls) >= 3)
    assert world.queue.visible == 0
    # And when the engine gets through in time, the job is done, and nothing is given back
    world.engine.release()
    world.thread.join(20)
    assert (world.result("one") or {})["status"] == "succeeded"
    assert len(world.queue) == 0
    assert not any(call.operation == "release" for call in world.queue.calls)


def test_a_stop_saves_what_the_engine_has_finished(make: Callable[..., World], media: MediaServer) -> None:
    # Given a job of several windows of which the engine has finished one
    world = make(shutdown_grace=2)
    world.engine.hold()
    world.send({"source": media.url("briefing.m4a"), "job_id": "one"})
    world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.release(1)
    eventually(lambda: world.components.pipeline.totals().windows == 1)
    # When the worker is told to stop
    world.stop()
    # Then that window stands, and the message is visible again
    assert [address.split("/")[-1][:5] for address in sorted(world.store.objects)] == ["0001-", "manif"]
    assert world.queue.visible == 1
    # And the next worker decodes the others alone
    after = make()
    after.queue, after.store = world.queue, world.store
    after.start()
    eventually(lambda: not len(after.queue))
    windows = len(world.engine.submitted[0].windows)
    assert [len(task.windows) for task in after.engine.submitted] == [windows - 1]
    assert json.loads(after.store.objects[f"{OUTPUT}/one/transcript.json"])["text"].count(SPOKEN) == windows
    assert sorted(after.store.objects) == [f"{OUTPUT}/one/{name}" for name in ("result.json", "transcript.json")]


def test_a_store_that_hangs_does_not_hold_up_a_stop(
    make: Callable[..., World], media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a store that does not answer when the finished window is to be saved
    world = make(shutdown_grace=4)
    world.engine.hold()
    world.send({"source": media.url("briefing.m4a"), "job_id": "one"})
    world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.release(1)
    eventually(lambda: world.components.pipeline.totals().windows == 1)
    leave = threading.Event()
    monkeypatch.setattr(world.store, "put_if_absent", lambda *_, **__: leave.wait(30))
    begun = time.monotonic()
    world.stop()
    leave.set()
    # Then the message is visible in time all the same
    assert time.monotonic() - begun < world.settings.shutdown_grace + 1
    assert world.queue.visible == 1


def test_a_stop_gives_back_many_messages_in_few_requests(make: Callable[..., World], media: MediaServer) -> None:
    # Given 25 clips in the engine
    world = make(shutdown_grace=2)
    world.engine.hold()
    for number in range(25):
        world.send({"source": media.url("hello.wav"), "job_id": f"job-{number}"})
    world.start()
    eventually(lambda: world.components.pipeline.jobs.count(Stage.INFERENCE) == 25, seconds=30)
    # When the worker is told to stop, then they are visible again, ten by one request
    world.stop()
    assert world.queue.visible == 25
    assert [len(call.ids) for call in world.queue.calls if call.operation == "release"] == [10, 10, 5]


def test_many_threads_that_hang_hold_up_a_stop_no_longer_than_one(
    make: Callable[..., World], media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given six uploaders that wait for a store that does not answer
    world = make(shutdown_grace=4, uploaders=6)
    leave, waiting = threading.Event(), threading.Semaphore(0)

    def hang(*_: object, **__: object) -> bool:
        waiting.release()
        return leave.wait(30)

    monkeypatch.setattr(world.store, "put_if_absent", hang)
    for number in range(6):
        world.send({"source": media.url("hello.wav"), "job_id": f"job-{number}"})
    world.start()
    assert all(waiting.acquire(timeout=15) for _ in range(6))
    begun = time.monotonic()
    world.stop()
    leave.set()
    # Then the messages are visible inside the grace all the same
    assert time.monotonic() - begun < world.settings.shutdown_grace
    assert world.queue.visible == 6


def test_a_stop_waits_for_what_the_last_poll_brings(make: Callable[..., World], media: MediaServer) -> None:
    # Given a worker without work, whose poll takes as long as polls may
    world = make(shutdown_grace=10)
    poll = Gate()
    world.queue.script("receive", Fault(gate=poll))
    daemon = world.start()
    assert poll.entered.wait(15)
    daemon.stop(ExitCode.DONE, "the test is over")
    # When it brings a message at its very end
    threading.Event().wait(POLL_SHARE_OF_GRACE * 10)
    assert world.thread.is_alive()
    world.send({"source": media.url("hello.wav"), "job_id": "late"})
    poll.leave.set()
    # Then that is given back before the worker ends
    world.thread.join(20)
    assert [call.operation for call in world.queue.calls] == ["send", "receive", "release"]
    assert world.queue.visible == 1


@pytest.mark.parametrize(("unfit", "code"), [(True, ExitCode.UNFIT_NODE), (False, ExitCode.ENGINE_BROKEN)])
def test_an_engine_that_cannot_work_ends_the_worker_with_a_code_that_says_why(
    world: World, media: MediaServer, *, unfit: bool, code: ExitCode
) -> None:
    world.engine.hold()
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.fail("no such device", unfit=unfit)
    world.thread.join(15)
    assert world.code is code
    assert world.queue.visible == 1


def test_a_stage_that_dies_ends_the_worker(world: World, media: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a downloader that meets a bug outside of any job
    world.start()

    def dies(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.components.pipeline, "prepare", dies)
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    # Then the worker does not look alive and do nothing: it ends, and says so
    world.thread.join(15)
    assert world.code is ExitCode.UNEXPECTED
    assert world.queue.visible == 1


def test_a_stage_that_is_stuck_ends_the_worker(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch, media: MediaServer
) -> None:
    # Given a downloader that hangs in a call that nothing can end
    world = make(shutdown_grace=2, intervals=Intervals(watch=0.02, poll=0.02, stuck=2.0))
    world.start()
    leave = threading.Event()

    def hangs(*_: object) -> None:
        leave.wait(60)
        raise Cancelled(CancelReason.SHUTDOWN)

    monkeypatch.setattr(world.components.pipeline._preparer._fetcher, "fetch", hangs)
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    # Then its job is not kept from others for ever
    world.thread.join(15)
    leave.set()
    assert world.code is ExitCode.UNEXPECTED
    assert world.queue.visible == 1


def test_idle_long_enough_is_the_end_when_asked_for(make: Callable[..., World], media: MediaServer) -> None:
    world = make(exit_when_idle=0.5, shutdown_grace=1)
    world.send({"source": media.url("hello.wav"), "job_id": "one"})
    world.start()
    world.thread.join(30)
    assert world.code is ExitCode.DONE
    assert len(world.queue) == 0
