# SPDX-License-Identifier: Apache-2.0
"""What the whole worker makes of messages: real fetch, decode, segment and publish, a fake engine, queue and store."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from sqscribe.errors import ExitCode
from worker.outcomes import Stage
from worker.queues import Outgoing
from worker.testing.decoder import simulated_info
from worker.testing.engine import FakeEngine
from worker.testing.media_server import MediaServer
from worker.testing.queue import FakeQueue
from worker.testing.waiting import eventually
from worker.testing.world import OUTPUT, SPOKEN, World


def test_a_message_becomes_a_transcript_and_is_deleted(world: World, media: MediaServer) -> None:
    # Given a job for a real recording
    world.send({"source": media.url("numbers.mp3"), "job_id": "one", "formats": ["srt"], "metadata": {"a": 1}})
    # When a worker runs
    world.start()
    eventually(lambda: not len(world.queue))
    # Then its transcript, the format asked for and its result stand, and nothing else
    result = world.result("one")
    assert result is not None
    assert result["status"] == "succeeded"
    assert result["metadata"] == {"a": 1}
    assert [artifact["format"] for artifact in result["artifacts"]] == ["json", "srt"]
    assert sorted(world.store.objects) == [
        f"{OUTPUT}/one/{name}" for name in ("result.json", "transcript.json", "transcript.srt")
    ]
    transcript = json.loads(world.store.objects[f"{OUTPUT}/one/transcript.json"])
    assert SPOKEN in transcript["text"]
    assert transcript["language"] == "en"
    # And every stage's time is told, and the scratch space is given back
    timings = result["timings"]
    assert all(timings[stage] is not None for stage in ("fetch", "decode", "segment", "inference", "publish"))
    assert world.scratch_files() == []
    assert world.stop() is ExitCode.DONE


def test_result_is_the_last_write_and_the_delete_comes_after_it(world: World, media: MediaServer) -> None:
    world.send({"source": media.url("hello.wav"), "job_id": "one", "formats": ["txt"]})
    world.start()
    eventually(lambda: not len(world.queue))
    assert world.store.writes == [
        f"{OUTPUT}/one/{name}" for name in ("transcript.json", "transcript.txt", "result.json")
    ]


def test_a_file_that_is_no_media_fails_for_good_and_costs_the_others_nothing(world: World, media: MediaServer) -> None:
    # Given a broken file between two good ones
    for name in ("hello.wav", "broken.mp3", "numbers.mp3"):
        world.send({"source": media.url(name), "job_id": name})
    world.start()
    eventually(lambda: not len(world.queue))
    # Then its failure is recorded with the reason, and dead-lettered with its own body and the code
    broken = world.result("broken.mp3")
    assert broken is not None
    assert broken["error"]["code"] == "media_unreadable"
    (letter,) = world.dead_letters.messages
    assert json.loads(letter.body)["job_id"] == "broken.mp3"
    assert letter.attributes["error_code"] == "media_unreadable"
    assert letter.attributes["error_message"]
    # And the others are done
    statuses = [(world.result(name) or {})["status"] for name in ("hello.wav", "numbers.mp3")]
    assert statuses == ["succeeded", "succeeded"]
    assert world.scratch_files() == []


def test_without_a_dead_letter_queue_a_failure_is_only_recorded(make: Callable[..., World], media: MediaServer) -> None:
    world = make()
    world.queue = FakeQueue(world.clock, visibility_timeout=30)
    world.send({"source": media.url("broken.mp3"), "job_id": "one"})
    world.start()
    eventually(lambda: not len(world.queue))
    assert (world.result("one") or {})["error"]["code"] == "media_unreadable"
    assert [call.operation for call in world.queue.calls] == ["send", "receive", "delete"]


def test_a_dead_letter_keeps_the_senders_attributes_beside_its_own_within_the_limits_of_sqs(world: World) -> None:
    # Given a message with as many attributes as SQS takes, and a fault that takes long to tell
    attributes = {f"a{number}": str(number) for number in range(10)}
    unknown = {f"{number}{chr(0x1D11E) * 100}": 1 for number in range(10)}
    body = json.dumps({"source": "https://x.test/a.mp3", "job_id": "j", **unknown})
    world.queue.send(None, Outgoing(body, attributes))
    world.start()
    eventually(lambda: not len(world.queue))
    (letter,) = world.dead_letters.messages
    assert list(letter.attributes) == [*(f"a{number}" for number in range(8)), "error_code", "error_message"]
    assert 900 < len(letter.attributes["error_message"].encode()) <= 1024


@pytest.mark.parametrize(
    ("body", "job", "code", "names"),
    [
        ("{not json", "message-", "bad_message", ""),
        ({"source": "https://x.test/a.mp3", "job_id": "j", "formts": ["srt"]}, "j", "bad_message", "formts"),
        ({"source": "https://x.test/a.mp3", "job_id": "j", "progress": True}, "j", "unsupported_option", "progress"),
        ({"source": "https://x.test/a.mp3", "job_id": "j", "beam_size": 11}, "j", "bad_message", "beam_size"),
    ],
)
def test_a_message_that_cannot_be_a_job_is_recorded_and_dead_lettered(
    world: World, body: object, job: str, code: str, names: str
) -> None:
    world.send(body)
    world.start()
    eventually(lambda: not len(world.queue))
    ((address, stored),) = world.store.objects.items()
    assert address.startswith(f"{OUTPUT}/{job}")
    error = json.loads(stored)["error"]
    assert error["code"] == code
    assert names in error["message"]
    (letter,) = world.dead_letters.messages
    assert letter.attributes["error_code"] == code


def test_a_job_that_is_done_is_not_done_again_but_gets_the_format_that_it_lacks(
    world: World, media: MediaServer
) -> None:
    # Given a job that succeeded
    job = {"source": media.url("hello.wav"), "job_id": "one"}
    world.send(job)
    world.start()
    eventually(lambda: not len(world.queue))
    stood = dict(world.store.objects)
    # When it is sent again, now with another format
    world.send({**job, "formats": ["vtt"]})
    eventually(lambda: not len(world.queue))
    # Then that is rendered, and the engine was asked once
    assert len(world.engine.submitted) == 1
    assert world.store.objects[f"{OUTPUT}/one/transcript.vtt"].startswith(b"WEBVTT")
    assert stood.items() <= world.store.objects.items()


def test_an_option_that_the_model_lacks_is_refused_before_anything_is_fetched(
    make: Callable[..., World], media: MediaServer
) -> None:
    world = make()
    info = replace(simulated_info(), can_translate=False)
    world.engine = FakeEngine(world.clock, info=info)
    world.send({"source": media.url("hello.wav"), "job_id": "one", "task": "translate"})
    world.start()
    eventually(lambda: not len(world.queue))
    result = world.result("one") or {}
    assert result["error"]["code"] == "unsupported_option"
    assert "translate" in result["error"]["message"]
    assert world.engine.submitted == []


def test_no_more_is_received_than_there_is_room_for(make: Callable[..., World], media: MediaServer) -> None:
    # Given room for 20 s of prepared audio, jobs of 20 s of which the engine finishes none
    world = make(buffer_seconds=20, downloaders=2)
    world.engine.hold()
    for number in range(20):
        world.send({"source": media.url("numbers.mp3"), "job_id": f"job-{number}"})
    world.start()
    eventually(lambda: world.components.pipeline.jobs.count(Stage.WAIT) >= 1)
    threading.Event().wait(1.0)  # time in which a worker that does not stop would take more
    # Then only the first receive's messages are held, and the others stay for other workers
    assert world.queue.visible >= 16
    world.engine.release()
    eventually(lambda: not len(world.queue), seconds=60)
