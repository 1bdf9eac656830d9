# SPDX-License-Identifier: Apache-2.0
"""What is saved of a job under way, and when."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sqscribe.errors import NodeFaultError
from worker.testing.queue import Fault

# As in conftest.
WINDOWS = 20
INTERVAL = 60.0


def test_a_long_job_is_saved_every_interval_as_increments_that_are_never_rewritten(world: Any) -> None:
    world.send()
    worker = world.worker()
    worker.take()

    worker.decode(8)
    worker.pass_time(INTERVAL - 5)
    assert world.checkpoint() == []
    worker.pass_time(5)
    assert world.checkpoint()[0] == "manifest.json"
    (first,) = world.increments()
    stood = dict(world.store.objects)
    worker.pass_time(2 * INTERVAL)
    assert world.store.objects == stood  # nothing new, nothing written
    worker.decode(4)
    worker.pass_time(INTERVAL)
    second = world.increments()[1]

    assert first.startswith("0001-")
    assert second == first.replace("0001-", "0002-")
    assert stood.items() <= world.store.objects.items()
    assert world.store.temporary == set(world.store.objects)
    worker.finish()


def test_all_of_it_is_gone_once_the_job_has_succeeded(world: Any) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    worker.pass_time(INTERVAL)
    # Another cut of the same job, left over by a worker with another model
    world.store.put(f"{world.base}/checkpoint/{'0' * 32}/manifest.json", b"{}", "application/json")

    worker.finish()

    assert sorted(world.store.objects) == [f"{world.base}/result.json", f"{world.base}/transcript.json"]
    calls = [(call.operation, call.url.removeprefix(world.base)) for call in world.store.calls]
    assert calls.index(("put_if_absent", "/result.json")) < calls.index(("keys", "/checkpoint/"))


def test_what_a_failed_attempt_left_is_gone_once_the_job_has_succeeded_under_another_message(
    world: Any, tmp_path: Path
) -> None:
    # Given a job that was given up when a part of it was saved: its source was gone by then
    recording = world.recording
    world.recording = tmp_path / "link.wav"
    world.recording.symlink_to(recording)
    world.send()
    world.interrupted()
    world.recording.unlink()
    world.worker().run()
    assert world.result()["status"] == "failed"
    assert world.checkpoint() != []
    # When it is sent again, and its source is there
    world.recording.symlink_to(recording)
    world.send()
    world.worker().run()
    # Then nothing is left but its result
    assert world.result()["status"] == "succeeded"
    assert world.checkpoint() == []


def test_checkpoints_that_cannot_be_removed_cost_nothing(world: Any) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    worker.pass_time(INTERVAL)
    world.store.script("delete", NodeFaultError("away"))
    worker.finish()
    assert world.result()["status"] == "succeeded"
    assert len(world.queue) == 0


def test_a_short_job_makes_no_call_for_checkpoints(world: Any) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    worker.pass_time(INTERVAL - 5)
    worker.finish()
    assert [(call.operation, call.url.rsplit("/", 1)[1]) for call in world.store.calls] == [
        ("get", "result.json"),
        ("put_if_absent", "transcript.json"),
        ("put_if_absent", "result.json"),
    ]


def test_nor_does_a_second_receive_make_more_than_one(world: Any) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.die()
    world.lapse()
    calls = len(world.store.calls)
    world.worker().run()
    assert [call.operation for call in world.store.calls[calls:]] == ["get", "keys", "put_if_absent", "put_if_absent"]


def test_a_store_that_is_away_costs_the_job_nothing_and_is_asked_again(world: Any) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    world.store.script("put_if_absent", NodeFaultError("away"))
    worker.pass_time(INTERVAL)
    assert world.checkpoint() == []
    world.store.script("put", NodeFaultError("away"), applied=True)
    worker.decode(2)
    worker.pass_time(INTERVAL)
    worker.pass_time(INTERVAL)
    # The increment whose answer was lost is not written over: its windows come once more under the next number
    assert [name[:4] for name in world.increments()] == ["0001", "0002"]
    assert worker.components.faults.current is None
    worker.finish()
    assert world.result()["status"] == "succeeded"


def test_nothing_is_saved_for_a_job_whose_lease_is_lost(world: Any) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    world.queue.script("extend", Fault(code="ReceiptHandleIsInvalid", entries=frozenset({0})), times=9)
    worker.pass_time(2 * INTERVAL)
    assert world.store.objects == {}
    assert worker.outcomes() == {"lease_lost": 1}


def test_a_last_window_that_comes_during_a_save_is_published_after_it(world: Any) -> None:
    # Given a save during which the engine finishes the job, and another uploader that has nothing to do
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    put = world.store.put

    def slow(*args: Any, **options: Any) -> None:
        worker.engine.release()
        world.eventually(lambda: worker.decoded == WINDOWS)
        other = threading.Thread(target=worker.pipeline.upload_next, args=(0.1, lambda: None))
        other.start()
        other.join()
        put(*args, **options)

    world.store.put = slow
    worker.pass_time(INTERVAL)
    # Then it is published when the save is over, and what the save wrote is removed
    assert world.result()["status"] == "succeeded"
    assert world.checkpoint() == []
