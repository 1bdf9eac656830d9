# SPDX-License-Identifier: Apache-2.0
"""Messages with several jobs, through the whole worker around a fake engine, queue and store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqscribe.bundled import demo_clips
from sqscribe.errors import ErrorCode, ExitCode, NodeFaultError, PermanentError
from sqscribe.job import Job, JobDefaults, JobRef
from sqscribe.job_message import parse_job
from stages.inference.protocol import DecodeTask
from worker import outcomes
from worker.build import build_worker
from worker.connect import Connections
from worker.node.clock import SystemClock
from worker.queues import Outgoing
from worker.receive.messages import Parsed, Rejected
from worker.settings import Settings
from worker.testing.engine import FakeEngine
from worker.testing.queue import FakeQueue
from worker.testing.store import MemoryStore

OUTPUT = "s3://bucket/out"
CLIPS = {clip.name: clip for clip in demo_clips()}
#: Real seconds.
PATIENCE = 30.0


def eventually(condition: Callable[[], object]) -> None:
    """Waits until a condition holds that no event tells of (what stands in the fakes)."""
    end, pause = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never came about"
        pause.wait(0.02)


#: A record of the message that is no job.
NO_JOB = Rejected(JobRef("no-job", OUTPUT), PermanentError(ErrorCode.BAD_MESSAGE, "no key"), '{"no": "key"}')


class World:
    """A worker whose one message holds a job for each of some clips, and perhaps records that are none."""

    def __init__(self, tmp_path: Path, *clips: str, max_receives: int = 3, rejected: tuple[Rejected, ...] = ()) -> None:
        clock = SystemClock()
        self.dead_letters = FakeQueue(clock, url="https://sqs.test/1/dead")
        self.queue = FakeQueue(clock, max_receives=max_receives, dead_letters=self.dead_letters)
        self.store = MemoryStore()
        self.rejects: dict[str, ErrorCode] = {}
        self.engine = FakeEngine(clock, text=lambda *_: " said", rejects=self._rejects)
        jobs = tuple(Job(source=str(CLIPS[name].path), job_id=name, output=OUTPUT) for name in clips)
        connections = Connections(self.queue, self.store, lambda _: Parsed(jobs, rejected), allow_local=True)
        settings = Settings(_env_file=None, output=OUTPUT, http_port=0, scratch_dir=tmp_path, shutdown_grace=6)
        self.daemon = build_worker(settings, lambda *_: connections, lambda *_: self.engine)
        self._code: ExitCode | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _rejects(self, task: DecodeTask) -> ErrorCode | None:
        return next((code for job, code in self.rejects.items() if task.job.endswith(job)), None)

    def _run(self) -> None:
        self._code = self.daemon.run()

    def start(self) -> None:
        self.queue.send(None, Outgoing("several", {"tenant": "blue"}))
        self._thread.start()

    def stop(self) -> None:
        self.daemon.stop(ExitCode.DONE, "the test is over")
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def status(self, job: str) -> str | None:
        body = self.store.objects.get(f"{OUTPUT}/{job}/result.json")
        return str(json.loads(body)["status"]) if body else None

    def released(self) -> list[int]:
        """The delays with which the message was let go."""
        return [seconds for call in self.queue.calls if call.operation == "release" for seconds in call.seconds]

    def outcomes(self) -> dict[str, int]:
        return {str(outcome): count for outcome, count in self.daemon._components.pipeline.totals().jobs.items()}

    @property
    def letters(self) -> list[dict[str, Any]]:
        return [json.loads(letter.body) for letter in self.dead_letters.messages]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def built(*clips: str, **options: Any) -> World:
        worlds.append(World(tmp_path, *clips, **options))
        return worlds[-1]

    yield built
    for world in worlds:
        world.stop()


def test_a_job_that_fails_for_good_is_dead_lettered_alone_while_its_message_waits_for_the_others(
    build: Callable[..., World],
) -> None:
    # Given a message of three jobs, one of them broken, and an engine that does not get on
    world = build("hello.wav", "broken.mp3", "numbers.mp3")
    world.engine.hold()
    world.start()
    # Then the broken one is dead-lettered as a message of its own, which anybody may send again
    eventually(lambda: world.letters)
    (letter,) = world.dead_letters.messages
    assert letter.attributes["error_code"] == "media_unreadable"
    assert letter.attributes["tenant"] == "blue"
    assert world.letters[0]["job_id"] == "broken.mp3"
    assert world.letters[0]["output"] == OUTPUT
    assert parse_job({**world.letters[0], "source": "s3://media/a"}, JobDefaults(OUTPUT)).job_id == "broken.mp3"
    assert world.status("broken.mp3") == "failed"
    # And the message waits, hidden, for the other two
    assert len(world.queue) == 1
    assert world.queue.visible == 0
    assert not [call for call in world.queue.calls if call.operation == "delete"]
    # When those are done, it is gone, and there is still one dead letter
    world.engine.release()
    eventually(lambda: not len(world.queue))
    assert (world.status("hello.wav"), world.status("numbers.mp3")) == ("succeeded", "succeeded")
    assert len(world.letters) == 1
    assert world.released() == []


def test_one_job_that_fails_for_now_brings_the_whole_message_back_and_only_that_job_is_done_again(
    build: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a message of two jobs, one of which fails for now
    world = build("hello.wav", "numbers.mp3")
    world.rejects["numbers.mp3"] = ErrorCode.INTERRUPTED
    world.start()
    eventually(world.released)
    # Then the other one is done, this one is not given up, and the message comes back after a back-off
    assert (world.status("hello.wav"), world.status("numbers.mp3")) == ("succeeded", None)
    assert world.released()[0] >= 0.75 * outcomes.BACKOFF_SECONDS - 1
    assert world.letters == []
    assert world.outcomes() == {"succeeded": 1, "retried": 1}


def test_a_message_that_came_back_has_only_the_rest_of_its_jobs_done(
    build: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the same, with a back-off that is over at once
    monkeypatch.setattr(outcomes, "BACKOFF_SECONDS", 0.0)
    world = build("hello.wav", "numbers.mp3")
    world.rejects["numbers.mp3"] = ErrorCode.INTERRUPTED
    world.engine.hold()
    world.start()
    eventually(lambda: len(world.engine.submitted) == 2)
    # When the next try finds nothing in its way
    world.rejects.clear()
    world.engine.release()
    eventually(lambda: not len(world.queue))
    # Then both are done, the first one once
    assert (world.status("hello.wav"), world.status("numbers.mp3")) == ("succeeded", "succeeded")
    keys = [task.job.partition("-")[2] for task in world.engine.submitted]
    assert sorted(keys) == ["hello.wav", "numbers.mp3", "numbers.mp3"]
    eventually(lambda: world.outcomes() == {"succeeded": 2, "retried": 1, "already_done": 1})
    assert world.released() == [0]


def test_at_the_last_receive_what_fails_for_now_is_dead_lettered_alone(build: Callable[..., World]) -> None:
    world = build("hello.wav", "numbers.mp3", max_receives=1)
    world.rejects["numbers.mp3"] = ErrorCode.INTERRUPTED
    world.start()
    eventually(lambda: not len(world.queue))
    assert (world.status("hello.wav"), world.status("numbers.mp3")) == ("succeeded", "failed")
    assert [letter["job_id"] for letter in world.letters] == ["numbers.mp3"]
    assert [letter.attributes["error_code"] for letter in world.dead_letters.messages] == ["interrupted"]


def test_what_the_engine_refuses_for_good_is_not_tried_again(build: Callable[..., World]) -> None:
    world = build("hello.wav", "numbers.mp3")
    world.rejects["numbers.mp3"] = ErrorCode.INFERENCE_FAILED
    world.start()
    eventually(lambda: not len(world.queue))
    assert [letter["job_id"] for letter in world.letters] == ["numbers.mp3"]
    assert world.released() == []
    assert world.outcomes() == {"succeeded": 1, "failed": 1}


def test_a_failure_beside_one_that_comes_back_is_dead_lettered_once(
    build: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a message with a broken file, a record that is no job, and a job that fails for now, again and again
    monkeypatch.setattr(outcomes, "BACKOFF_SECONDS", 0.0)
    world = build("broken.mp3", "numbers.mp3", rejected=(NO_JOB,))
    world.rejects["numbers.mp3"] = ErrorCode.INTERRUPTED
    world.start()
    eventually(lambda: not len(world.queue))
    # Then it was received three times, and each has its dead letter, once
    assert len(world.released()) == 2
    codes = [letter.attributes["error_code"] for letter in world.dead_letters.messages]
    assert sorted(codes) == ["bad_message", "interrupted", "media_unreadable"]
    assert [world.status(job) for job in ("broken.mp3", "no-job", "numbers.mp3")] == ["failed"] * 3


def test_a_store_that_is_away_after_a_letter_does_not_have_it_sent_again(build: Callable[..., World]) -> None:
    world = build("broken.mp3", "hello.wav")
    world.engine.hold()
    world.store.script("put_if_absent", NodeFaultError("away"), times=2)
    world.start()
    eventually(lambda: world.status("broken.mp3"))
    world.engine.release()
    eventually(lambda: not len(world.queue))
    assert [letter["job_id"] for letter in world.letters] == ["broken.mp3"]
