# SPDX-License-Identifier: Apache-2.0
"""What the next worker makes of a checkpoint."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import ErrorCode, PermanentError
from worker.queues import Outgoing
from worker.testing.decoder import simulated_info

# As in conftest.
WINDOWS = 20
INTERVAL = 60.0


def test_the_next_worker_decodes_only_what_is_missing(world: Any, expected: bytes) -> None:
    # Given a worker that is killed with 8 windows saved and 2 more finished
    world.send()
    first = world.interrupted()
    assert first.decoded == 10
    # When another one gets the message
    second = world.worker()
    second.run()
    # Then it decodes the other 12, and the transcript is as if nothing had happened
    assert second.submitted == [WINDOWS - 8]
    assert world.transcript == expected
    assert world.result()["attempts"] == 2
    assert world.checkpoint() == []


def test_a_third_one_unites_what_two_have_saved(world: Any, expected: bytes) -> None:
    world.send()
    world.interrupted(8)
    world.interrupted(5)
    third = world.worker()
    third.run()
    assert third.submitted == [WINDOWS - 8 - 5]
    assert world.transcript == expected


def test_a_job_with_every_window_saved_does_not_go_to_the_engine(world: Any, expected: bytes) -> None:
    # Given the work of two workers who had one cut and came to its end together
    world.send()
    world.send()
    one, other = world.worker(), world.worker()
    one.take()
    other.take()
    one.decode(WINDOWS - 1)
    one.pass_time(INTERVAL)
    add_last_window(world, expected)
    one.die()
    other.die()
    world.lapse()
    # When a third one gets the job
    third = world.worker()
    third.take()
    third.work()
    # Then it goes straight to the uploaders
    assert third.submitted == []
    assert world.transcript == expected


def add_last_window(world: Any, expected: bytes) -> None:
    """Puts the last window's result beside the ones that are saved."""
    (url,) = (url for url in world.store.objects if "/0001-" in url)
    content = json.loads(world.store.objects[url])
    text = json.loads(expected)["segments"][-1]["text"]
    last = json.loads(json.dumps(content["results"][-1])) | {"index": WINDOWS - 1}
    last["segments"][0]["text"] = last["segments"][0]["words"][0]["word"] = text
    increment = {**content, "results": [last]}
    world.store.put(url.replace("/0001-", "/0002-"), json.dumps(increment).encode(), "application/json")


def test_the_settled_language_is_not_asked_for_again(world: Any) -> None:
    world.send()
    world.interrupted(language="de")
    second = world.worker(language="fr")
    second.run()
    (task,) = second.engine.submitted
    assert task.options.language == "de"
    assert task.probes == ()
    assert json.loads(world.transcript)["language"] == "de"
    assert json.loads(world.transcript)["language_probability"] == 0.75


@pytest.mark.parametrize(
    "other",
    [
        {"beam_size": 2},
        {"initial_prompt": "x"},
        {"hotwords": "x"},
        {"language": "en"},
        {"task": "translate"},
        {"vad": False},
        {"start": 1.0},
        {"end": 19.0},
    ],
    ids=lambda other: next(iter(other)),
)
def test_work_for_other_wishes_is_not_taken_up(world: Any, other: dict[str, Any]) -> None:
    # Given a job that was begun, and then sent with other options under the same id
    world.send()
    world.interrupted()
    world.send(**other)
    # When a worker gets both
    worker = world.worker(most=2)
    worker.take()
    # Then only the first one's work is taken up
    assert worker.submitted == [12, sum(WINDOWS - k for k in [1 if other.keys() & {"start", "end"} else 0])]


def test_work_on_other_bytes_or_by_another_model_is_not_taken_up(world: Any, tmp_path: Path) -> None:
    world.send()
    world.interrupted()
    other = world.worker(info=dataclasses.replace(simulated_info(), revision="other"))
    other.take()
    assert other.submitted == [WINDOWS]
    other.die()
    world.lapse()
    changed = tmp_path / "changed.wav"
    changed.write_bytes(world.recording.read_bytes() + b"x")
    world.recording, recording = changed, world.recording
    message = next(iter(world.queue._messages.values()))
    message.outgoing = Outgoing(message.outgoing.body.replace(str(recording), str(changed)))
    third = world.worker()
    third.take()
    assert third.submitted == [WINDOWS]


BROKEN = [b"", b"{", b"[]", b"\xff", b'{"windows": 1}', b'{"cut": "x", "results": []}', b"[" * 100_000]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_an_increment_that_cannot_be_read_costs_its_windows_alone(world: Any, expected: bytes, broken: bytes) -> None:
    world.send()
    world.interrupted(8)
    world.interrupted(5)
    first, _ = (url for url in sorted(world.store.objects) if "/0001-" in url)
    left = WINDOWS - 8 - 5 + len(json.loads(world.store.objects[first])["results"])
    world.store.put(first, broken, "application/json")
    worker = world.worker()
    with capture_logs() as logs:
        worker.run()
    assert worker.submitted == [left]
    assert world.transcript == expected
    assert [log["url"] for log in logs if log["event"] == "checkpoint_unreadable"] == [first]


GAP = json.dumps({"windows": [{"index": 1, "pieces": [], "speech": 0, "speech_end": 0}], "speech": 1.0}).encode()


@pytest.mark.parametrize("broken", [*BROKEN, GAP], ids=range(len(BROKEN) + 1))
def test_a_manifest_that_cannot_be_read_is_replaced(world: Any, expected: bytes, broken: bytes) -> None:
    world.send()
    world.interrupted()
    (manifest,) = (url for url in world.store.objects if url.endswith("manifest.json"))
    good = world.store.objects[manifest]
    world.store.put(manifest, broken, "application/json")
    # Then the next worker begins anew, and saves all the same
    second = world.interrupted(5)
    assert second.submitted == [WINDOWS]
    assert world.store.objects[manifest] == good
    # And the one after it has the work of both, since both cut alike
    third = world.worker()
    third.run()
    assert third.submitted == [WINDOWS - 8]
    assert world.transcript == expected


def test_a_manifest_of_a_longer_recording_is_of_no_use(world: Any) -> None:
    world.send()
    world.interrupted()
    (manifest,) = (url for url in world.store.objects if url.endswith("manifest.json"))
    content = json.loads(world.store.objects[manifest])
    content["windows"][-1]["pieces"][0]["length"] += 1
    world.store.put(manifest, json.dumps(content).encode(), "application/json")
    second = world.worker()
    second.take()
    assert second.submitted == [WINDOWS]


def test_a_store_that_may_not_be_listed_costs_no_more_than_the_checkpoint(world: Any) -> None:
    world.send()
    world.interrupted()
    world.store.script("keys", PermanentError(ErrorCode.OUTPUT_FORBIDDEN, "no ListBucket"), times=9)
    worker = world.worker()
    worker.run()
    assert worker.submitted == [WINDOWS]
    assert world.result()["status"] == "succeeded"


@pytest.mark.parametrize(
    "differs", [{"window_seconds": 2.0}, {"language": "fr"}], ids=["another cut", "another language"]
)
def test_two_workers_never_mix_cuts_or_languages(world: Any, expected: bytes, differs: dict[str, Any]) -> None:
    # Given the same job at two workers, whose detectors do not quite agree
    world.send()
    world.send()
    one, other = world.worker(), world.worker(**differs)
    one.take()
    other.take()
    one.decode(4)
    other.decode(3)
    # When both save, the first one first
    one.pass_time(INTERVAL)
    other.work()
    # Then the other one gives up its own beginnings and goes on with what stands
    assert other.engine.submitted[1].windows == one.engine.submitted[0].windows[4:]
    assert other.engine.submitted[1].options.language == "en"
    # And from there on each adds to the same work
    other.decode(2)
    other.pass_time(INTERVAL)
    assert len(world.increments()) == 2
    # So that a third one has both
    one.die()
    other.die()
    world.lapse()
    third = world.worker(most=2)
    third.run()
    assert third.submitted[0] == WINDOWS - 4 - 2
    assert world.transcript == expected


def test_an_adopted_job_that_is_all_done_is_published(world: Any, expected: bytes) -> None:
    # Given a worker with another cut that saves when all windows of the first one's stand
    world.send()
    world.send()
    one, other = world.worker(), world.worker(window_seconds=2.0)
    one.take()
    other.take()
    one.decode(WINDOWS - 1)
    one.pass_time(INTERVAL)
    add_last_window(world, expected)
    other.decode(1)
    other.work()
    other.work()
    assert other.outcomes() == {"succeeded": 1}
    assert world.transcript == expected


def test_increments_of_another_cut_are_not_read_even_if_the_manifest_was_written_over(
    world: Any, expected: bytes
) -> None:
    # Given a store on which the last writer wins, and did
    world.send()
    world.interrupted()
    (manifest,) = (url for url in world.store.objects if url.endswith("manifest.json"))
    content = json.loads(world.store.objects[manifest])
    content["language"] = "fr"
    world.store.put(manifest, json.dumps(content).encode(), "application/json")
    # Then nothing that was heard as English is taken for French
    worker = world.worker()
    worker.take()
    assert worker.submitted == [WINDOWS]
    assert worker.engine.submitted[0].options.language == "fr"
