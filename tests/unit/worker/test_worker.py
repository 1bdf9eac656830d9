# SPDX-License-Identifier: Apache-2.0
"""The whole worker in this process: real fetch, decode, segment and publish around a fake engine, queue and store."""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sqscribe import bundled
from sqscribe.errors import Cancelled, CancelReason, ExitCode, NodeFaultError
from sqscribe.job import JobDefaults
from stages.fetch import FetchLimits
from worker.build import build_worker
from worker.connect import POLL_SHARE_OF_GRACE, Connections
from worker.daemon import Daemon
from worker.lifecycle import Phase
from worker.node.clock import SystemClock
from worker.outcomes import JobOutcome, Stage
from worker.queues import Outgoing
from worker.receive.messages import MessageParser
from worker.settings import Settings
from worker.testing.decoder import simulated_info
from worker.testing.engine import FakeEngine
from worker.testing.queue import FakeQueue, Fault, Gate
from worker.testing.store import MemoryStore

OUTPUT = "s3://bucket/out"
SPOKEN = "hello from the engine"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def media() -> Iterator[str]:
    """An address below which the bundled clips can be fetched."""
    folder = str(bundled.demo_clips()[0].path.parent)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class World:
    """A worker with everything around it, and what a test asks of it."""

    def __init__(self, tmp_path: Path, **changes: Any) -> None:
        self.clock = SystemClock()
        self.dead_letters = FakeQueue(self.clock, url="https://sqs.test/1/dead")
        self.queue = FakeQueue(self.clock, visibility_timeout=30, max_receives=3, dead_letters=self.dead_letters)
        self.store = MemoryStore()
        self.engine = FakeEngine(self.clock, text=lambda _task, _window: f" {SPOKEN}")
        self.code: ExitCode | None = None
        self.scratch = tmp_path / "scratch"
        settings = {
            "output": OUTPUT,
            "http_port": 0,
            "visibility_timeout": 30,
            "allow_private_sources": True,
            "scratch_dir": self.scratch,
            "shutdown_grace": 6,
            **changes,
        }
        self.settings = Settings(_env_file=None, **settings)
        self.daemon: Daemon | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        assert self.daemon is not None
        self.code = self.daemon.run()

    def start(self) -> Daemon:
        parser = MessageParser(JobDefaults(OUTPUT, self.settings.formats))
        connections = Connections(self.queue, self.store, lambda message: parser.parse(message.body, message.id))
        self.daemon = build_worker(self.settings, lambda *_: connections, lambda *_: self.engine)
        self.thread.start()
        return self.daemon

    def send(self, body: object) -> None:
        self.queue.send(None, Outgoing(body if isinstance(body, str) else json.dumps(body)))

    def result(self, job: str) -> dict[str, Any] | None:
        body = self.store.objects.get(f"{OUTPUT}/{job}/result.json")
        return json.loads(body) if body else None

    def stop(self, code: ExitCode = ExitCode.DONE) -> ExitCode | None:
        assert self.daemon is not None
        self.daemon.stop(code, "the test is over")
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.code

    def scratch_files(self) -> list[Path]:
        return [path for path in self.scratch.rglob("*") if path.is_file() and path.suffix not in {".lock", ".marker"}]


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Waits until a condition holds that no event tells of (what stands in the fakes)."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never came about"
        pause.wait(0.02)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    if world.thread.is_alive():
        world.stop()


def test_a_message_becomes_a_transcript_and_is_deleted(world: World, media: str) -> None:
    # Given a job for a real recording
    world.send({"source": f"{media}/numbers.mp3", "job_id": "one", "formats": ["srt"], "metadata": {"a": 1}})
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


def test_result_is_the_last_write_and_the_delete_comes_after_it(world: World, media: str) -> None:
    world.send({"source": f"{media}/hello.wav", "job_id": "one", "formats": ["txt"]})
    world.start()
    eventually(lambda: not len(world.queue))
    assert world.store.writes == [
        f"{OUTPUT}/one/{name}" for name in ("transcript.json", "transcript.txt", "result.json")
    ]


def test_a_file_that_is_no_media_fails_for_good_and_costs_the_others_nothing(world: World, media: str) -> None:
    # Given a broken file between two good ones
    for name in ("hello.wav", "broken.mp3", "numbers.mp3"):
        world.send({"source": f"{media}/{name}", "job_id": name})
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


def test_without_a_dead_letter_queue_a_failure_is_only_recorded(tmp_path: Path, media: str) -> None:
    world = World(tmp_path)
    world.queue = FakeQueue(world.clock, visibility_timeout=30)
    world.send({"source": f"{media}/broken.mp3", "job_id": "one"})
    world.start()
    eventually(lambda: not len(world.queue))
    assert (world.result("one") or {})["error"]["code"] == "media_unreadable"
    assert [call.operation for call in world.queue.calls] == ["send", "receive", "delete"]
    world.stop()


def test_a_dead_letter_queue_that_is_away_is_outlasted_and_burns_no_receive(world: World, media: str) -> None:
    world.dead_letters.script("send", Fault(code="ServiceUnavailable"), times=2)
    world.send({"source": f"{media}/broken.mp3", "job_id": "one"})
    world.start()
    eventually(lambda: not len(world.queue), seconds=40)
    assert [letter.attributes["error_code"] for letter in world.dead_letters.messages] == ["media_unreadable"]
    assert (world.result("one") or {})["attempts"] == 1
    assert not any(call.operation == "release" for call in world.queue.calls)


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
        ({"source": "https://x.test/a.mp3", "job_id": "j", "channels": "split"}, "j", "unsupported_option", "channels"),
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


def test_a_job_that_is_done_is_not_done_again_but_gets_the_format_that_it_lacks(world: World, media: str) -> None:
    # Given a job that succeeded
    job = {"source": f"{media}/hello.wav", "job_id": "one"}
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


def test_a_source_that_fails_at_the_last_receive_is_given_up(tmp_path: Path, nowhere: str) -> None:
    world = World(tmp_path, max_receives=1)
    world.send({"source": nowhere, "job_id": "one"})
    world.start()
    eventually(lambda: not len(world.queue), seconds=40)
    assert (world.result("one") or {})["error"]["code"] == "source_unreachable"
    assert [letter.attributes["error_code"] for letter in world.dead_letters.messages] == ["source_unreachable"]
    world.stop()


class LateMedia:
    """A server of the bundled clips on all of this machine's addresses, to which nobody gets through so far."""

    def __init__(self) -> None:
        folder = str(bundled.demo_clips()[0].path.parent)
        self._server = ThreadingHTTPServer(("", 0), partial(Quiet, directory=folder), bind_and_activate=False)
        self._server.server_bind()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def source(self, host: int) -> str:
        return f"http://127.0.0.{host}:{self._server.server_port}/hello.wav"

    def open(self) -> None:
        self._server.server_activate()
        self._thread.start()

    def close(self) -> None:
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


@pytest.fixture
def late_media() -> Iterator[LateMedia]:
    media = LateMedia()
    yield media
    media.close()


def test_sources_that_all_fall_silent_are_the_nodes_fault_and_burn_no_receive(
    tmp_path: Path, late_media: LateMedia, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given four sources on different hosts, to none of which this node finds a way
    monkeypatch.setattr("worker.build.FetchLimits", partial(FetchLimits, attempts=1))
    world = World(tmp_path, shutdown_grace=1)
    jobs = [f"job-{number}" for number in range(1, 6)]
    for number, job in enumerate(jobs[:4], 1):
        world.send({"source": late_media.source(number), "job_id": job})
    daemon = world.start()
    told = watch_room(daemon)
    eventually(lambda: told[-1:] == [0])
    # Then two have been taken at their word, and come back after a while; the others are kept, and it is said why
    eventually(lambda: sum(call.operation == "release" for call in world.queue.calls) == 2)
    released = [message for call in world.queue.calls if call.operation == "release" for message in call.ids]
    assert "nor does any other source answer" in daemon.status()["trouble"][0]
    # And nothing more is received; the node is not ready, and not given up either
    world.send({"source": late_media.source(5), "job_id": jobs[4]})
    asked = len(told)
    eventually(lambda: len(told) > asked + 2)
    assert told[asked:] == [0] * (len(told) - asked)
    assert world.queue.visible == 1
    eventually(lambda: not daemon._components.health.ready().ok)
    assert daemon._components.health.live().ok
    # When the sources can be reached again
    late_media.open()
    # Then what was kept, and what comes now, is done in its first receive
    kept = [job for number, job in enumerate(jobs, 1) if f"m{number}" not in released]
    eventually(lambda: all(world.result(job) for job in kept), seconds=60)
    assert [(world.result(job) or {})["attempts"] for job in kept] == [1, 1, 1]
    eventually(lambda: daemon._components.health.ready().ok)
    world.stop()


def test_an_option_that_the_model_lacks_is_refused_before_anything_is_fetched(tmp_path: Path, media: str) -> None:
    world = World(tmp_path)
    info = replace(simulated_info(), can_translate=False)
    world.engine = FakeEngine(world.clock, info=info)
    world.send({"source": f"{media}/hello.wav", "job_id": "one", "task": "translate"})
    world.start()
    eventually(lambda: not len(world.queue))
    result = world.result("one") or {}
    assert result["error"]["code"] == "unsupported_option"
    assert "translate" in result["error"]["message"]
    assert world.engine.submitted == []
    world.stop()


def test_a_store_that_is_away_is_outlasted_and_burns_no_receive(world: World, media: str) -> None:
    # Given a store that fails three times in the middle of publishing
    world.store.script("put_if_absent", NodeFaultError("the store is away"), times=3)
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    world.start()
    eventually(lambda: not len(world.queue), seconds=40)
    # Then the job is done in its first receive
    assert (world.result("one") or {})["attempts"] == 1
    assert not any(call.operation == "release" for call in world.queue.calls)


def test_nothing_is_received_while_the_store_is_away(tmp_path: Path, media: str) -> None:
    # Given a worker with short leases whose polls last for 0.3 s, and a store that stays away
    world = World(tmp_path, shutdown_grace=1, visibility_timeout=2)
    world.store.script("put_if_absent", NodeFaultError("the store is away"), times=1000)
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    daemon = world.start()
    eventually(lambda: daemon.status()["trouble"])
    threading.Event().wait(0.5)  # the poll that was under way ends
    # When another message comes
    world.send({"source": f"{media}/hello.wav", "job_id": "two"})
    threading.Event().wait(1.0)  # time in which a worker that does not pause would take it
    # Then it is left to others, the node is not ready, and it is not given up either
    assert world.queue.visible == 1
    assert not daemon._components.health.ready().ok
    assert daemon._components.health.live().ok
    # And the lease of the first one goes on all the while
    eventually(lambda: sum(call.operation == "extend" for call in world.queue.calls) >= 5)
    assert world.queue.visible == 1
    world.stop()


def fails_twice(work: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    failures = [error, error]

    def failing(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return work(*args, **options)

    return failing


@pytest.mark.parametrize("step", ["folder", "segment"])
def test_a_disk_that_fails_at_any_step_burns_no_receive(
    world: World, media: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    # Given a disk on which no folder can be made, or from which the audio cannot be read back
    daemon = world.start()
    if step == "folder":
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr("worker.node.scratch.tempfile.mkdtemp", fails_twice(tempfile.mkdtemp, full))
    else:
        segmenter = daemon._components.pipeline._preparer._segmenter
        broken = NodeFaultError("the PCM file ends early")
        monkeypatch.setattr(segmenter, "segment", fails_twice(segmenter.segment, broken))
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    # Then the job is done in its first receive all the same, and leaves nothing
    eventually(lambda: not len(world.queue), seconds=40)
    assert (world.result("one") or {})["attempts"] == 1
    assert not any(call.operation == "release" for call in world.queue.calls)
    assert world.scratch_files() == []
    assert daemon._components.scratch.used == 0


def test_nothing_is_received_while_the_scratch_space_has_no_room(tmp_path: Path, media: str) -> None:
    # Given a worker of whose scratch space one source takes nearly all
    world = World(tmp_path, scratch_bytes=1 << 20, shutdown_grace=1)
    with slow_server() as address:
        world.send({"source": address, "job_id": "one"})
        daemon = world.start()
        told = watch_room(daemon)
        eventually(lambda: told[-1:] == [0])
        # When another message comes
        world.send({"source": f"{media}/hello.wav", "job_id": "two"})
        asked = len(told)
        eventually(lambda: len(told) > asked + 2)
        # Then it is left to others
        assert told[asked:] == [0] * (len(told) - asked)
        assert world.queue.visible == 1
        world.stop()


def test_an_engine_that_dies_costs_no_job_anything(world: World, media: str) -> None:
    # Given a job of several windows, of which the engine has finished one when it dies
    world.engine.hold()
    world.send({"source": f"{media}/briefing.m4a", "job_id": "one"})
    world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.release(1)
    world.engine.die()
    world.engine.release()
    eventually(lambda: not len(world.queue))
    # Then the job is done all the same, every window once
    transcript = json.loads(world.store.objects[f"{OUTPUT}/one/transcript.json"])
    assert transcript["text"].count(SPOKEN) == len(world.engine.submitted[0].windows)


def watch_room(daemon: Daemon) -> list[int]:
    """What the intake is told of the room from now on. A 0 at the end means that no receive is under way."""
    intake = daemon._components.intake
    told: list[int] = []
    room = intake._room

    def noted() -> int:
        told.append(room())
        return told[-1]

    intake._room = noted
    return told


def test_nothing_is_received_while_the_engine_restarts(tmp_path: Path, media: str) -> None:
    # Given a worker whose polls last for 0.3 s, with a job in the engine when that is lost
    world = World(tmp_path, shutdown_grace=1)
    world.engine.hold()
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    daemon = world.start()
    eventually(lambda: world.engine.submitted)
    told = watch_room(daemon)
    world.engine.lose()
    eventually(lambda: told[-1:] == [0])
    # When another message comes
    world.send({"source": f"{media}/hello.wav", "job_id": "two"})
    asked = len(told)
    eventually(lambda: len(told) > asked + 2)
    # Then it is left to others, and the node is not ready, though it lives
    assert told[asked:] == [0] * (len(told) - asked)
    assert world.queue.visible == 1
    eventually(lambda: not daemon._components.health.ready().ok)
    assert daemon._components.health.ready().reasons == ("engine: lost (exit code -9), and not ready again yet",)
    assert daemon.status()["trouble"] == ["lost (exit code -9), and not ready again yet"]
    assert daemon._components.health.live().ok
    # And once it is back, both are done, each in its first receive
    world.engine.release()
    world.engine.come_back()
    eventually(lambda: not len(world.queue))
    assert [(world.result(job) or {})["attempts"] for job in ("one", "two")] == [1, 1]
    eventually(lambda: daemon._components.health.ready().ok)
    assert daemon.status()["trouble"] == []
    world.stop()


def test_a_lost_lease_ends_the_work_and_nothing_is_written(tmp_path: Path, media: str) -> None:
    # Given a job in the engine whose message is taken away from us
    world = World(tmp_path, visibility_timeout=3)
    world.engine.hold()
    world.queue.script("extend", Fault(code="ReceiptHandleIsInvalid", entries=frozenset({0})), times=5)
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    daemon = world.start()
    eventually(lambda: world.engine.submitted)
    # Then the engine is told to drop it once the queue refuses to renew
    eventually(lambda: world.engine.cancelled)
    world.engine.release()
    # And nothing of it stands, nor is its message touched
    assert world.store.objects == {}
    assert {call.operation for call in world.queue.calls} <= {"send", "receive", "extend"}
    eventually(lambda: daemon._components.pipeline.totals().jobs.get(JobOutcome.LEASE_LOST))
    world.stop()


@pytest.mark.parametrize("held_in", [Stage.INFERENCE, Stage.FETCH])
def test_a_stop_gives_everything_back_at_once(tmp_path: Path, media: str, held_in: Stage) -> None:
    # Given jobs in the engine, or in a fetch that hangs, and others that wait
    world = World(tmp_path)
    world.engine.hold()
    with slow_server() as address:
        source = f"{media}/hello.wav" if held_in is Stage.INFERENCE else address
        for number in range(8):
            world.send({"source": source, "job_id": f"job-{number}"})
        daemon = world.start()
        eventually(lambda: daemon._components.pipeline.stage_jobs(held_in) >= 3)
        # When the worker is told to stop
        begun = time.monotonic()
        assert world.stop() is ExitCode.DONE
    # Then all messages are visible again within the grace, and nothing is left behind
    assert time.monotonic() - begun < world.settings.shutdown_grace
    assert world.queue.visible == 8
    assert world.store.objects == {}
    assert world.scratch_files() == []


def test_what_is_finished_while_the_worker_drains_is_published_and_deleted(tmp_path: Path, media: str) -> None:
    # Given a job in the engine of a worker with short leases that is told to stop
    world = World(tmp_path, visibility_timeout=2, shutdown_grace=10)
    world.engine.hold()
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
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


def test_a_stop_saves_what_the_engine_has_finished(tmp_path: Path, media: str) -> None:
    # Given a job of several windows of which the engine has finished one
    world = World(tmp_path, shutdown_grace=2)
    world.engine.hold()
    world.send({"source": f"{media}/briefing.m4a", "job_id": "one"})
    daemon = world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.release(1)
    eventually(lambda: daemon._components.pipeline.totals().windows == 1)
    # When the worker is told to stop
    world.stop()
    # Then that window stands, and the message is visible again
    assert [address.split("/")[-1][:5] for address in sorted(world.store.objects)] == ["0001-", "manif"]
    assert world.queue.visible == 1
    # And the next worker decodes the others alone
    after = World(tmp_path)
    after.queue, after.store = world.queue, world.store
    after.start()
    eventually(lambda: not len(after.queue))
    windows = len(world.engine.submitted[0].windows)
    assert [len(task.windows) for task in after.engine.submitted] == [windows - 1]
    assert json.loads(after.store.objects[f"{OUTPUT}/one/transcript.json"])["text"].count(SPOKEN) == windows
    assert sorted(after.store.objects) == [f"{OUTPUT}/one/{name}" for name in ("result.json", "transcript.json")]
    after.stop()


def test_a_store_that_hangs_does_not_hold_up_a_stop(tmp_path: Path, media: str) -> None:
    # Given a store that does not answer when the finished window is to be saved
    world = World(tmp_path, shutdown_grace=4)
    world.engine.hold()
    world.send({"source": f"{media}/briefing.m4a", "job_id": "one"})
    daemon = world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.release(1)
    eventually(lambda: daemon._components.pipeline.totals().windows == 1)
    leave = threading.Event()
    world.store.put_if_absent = lambda *_, **__: leave.wait(30)  # type: ignore[method-assign]
    begun = time.monotonic()
    world.stop()
    leave.set()
    # Then the message is visible in time all the same
    assert time.monotonic() - begun < world.settings.shutdown_grace + 1
    assert world.queue.visible == 1


def test_a_stop_gives_back_many_messages_in_few_requests(tmp_path: Path, media: str) -> None:
    # Given 25 clips in the engine
    world = World(tmp_path, shutdown_grace=2)
    world.engine.hold()
    for number in range(25):
        world.send({"source": f"{media}/hello.wav", "job_id": f"job-{number}"})
    daemon = world.start()
    eventually(lambda: daemon._components.pipeline.stage_jobs(Stage.INFERENCE) == 25, seconds=30)
    # When the worker is told to stop, then they are visible again, ten by one request
    world.stop()
    assert world.queue.visible == 25
    assert [len(call.ids) for call in world.queue.calls if call.operation == "release"] == [10, 10, 5]


def test_many_threads_that_hang_hold_up_a_stop_no_longer_than_one(tmp_path: Path, media: str) -> None:
    # Given six uploaders that wait for a store that does not answer
    world = World(tmp_path, shutdown_grace=4, uploaders=6)
    leave, waiting = threading.Event(), threading.Semaphore(0)

    def hang(*_: object, **__: object) -> bool:
        waiting.release()
        return leave.wait(30)

    world.store.put_if_absent = hang  # type: ignore[method-assign]
    for number in range(6):
        world.send({"source": f"{media}/hello.wav", "job_id": f"job-{number}"})
    world.start()
    assert all(waiting.acquire(timeout=15) for _ in range(6))
    begun = time.monotonic()
    world.stop()
    leave.set()
    # Then the messages are visible inside the grace all the same
    assert time.monotonic() - begun < world.settings.shutdown_grace
    assert world.queue.visible == 6


def test_a_stop_waits_for_what_the_last_poll_brings(tmp_path: Path, media: str) -> None:
    # Given a worker without work, whose poll takes as long as polls may
    world = World(tmp_path, shutdown_grace=10)
    poll = Gate()
    world.queue.script("receive", Fault(gate=poll))
    daemon = world.start()
    assert poll.entered.wait(15)
    daemon.stop(ExitCode.DONE, "the test is over")
    # When it brings a message at its very end
    threading.Event().wait(POLL_SHARE_OF_GRACE * 10)
    assert world.thread.is_alive()
    world.send({"source": f"{media}/hello.wav", "job_id": "late"})
    poll.leave.set()
    # Then that is given back before the worker ends
    world.thread.join(20)
    assert [call.operation for call in world.queue.calls] == ["send", "receive", "release"]
    assert world.queue.visible == 1


class slow_server:  # noqa: N801 - reads as the context manager that it is
    """A server that sends its headers and then nothing."""

    def __enter__(self) -> str:
        leave = self.leave = threading.Event()

        class Handler(Quiet):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "audio/mpeg")
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                leave.wait(30)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}/slow.mp3"

    def __exit__(self, *_: object) -> None:
        self.leave.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.mark.parametrize(("unfit", "code"), [(True, ExitCode.UNFIT_NODE), (False, ExitCode.ENGINE_BROKEN)])
def test_an_engine_that_cannot_work_ends_the_worker_with_a_code_that_says_why(
    world: World, media: str, *, unfit: bool, code: ExitCode
) -> None:
    world.engine.hold()
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.fail("no such device", unfit=unfit)
    world.thread.join(15)
    assert world.code is code
    assert world.queue.visible == 1


def test_a_stage_that_dies_ends_the_worker(world: World, media: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a downloader that meets a bug outside of any job
    daemon = world.start()

    def dies(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(daemon._components.pipeline, "prepare", dies)
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    # Then the worker does not look alive and do nothing: it ends, and says so
    world.thread.join(15)
    assert world.code is ExitCode.UNEXPECTED
    assert world.queue.visible == 1


def test_a_stage_that_is_stuck_ends_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media: str) -> None:
    # Given a downloader that hangs in a call that nothing can end
    monkeypatch.setattr("worker.daemon.STUCK_SECONDS", 2.0)
    world = World(tmp_path, shutdown_grace=2)
    daemon = world.start()
    leave = threading.Event()

    def hangs(*_: object) -> None:
        leave.wait(60)
        raise Cancelled(CancelReason.SHUTDOWN)

    monkeypatch.setattr(daemon._components.pipeline._preparer._fetcher, "fetch", hangs)
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    # Then its job is not kept from others for ever
    world.thread.join(15)
    leave.set()
    assert world.code is ExitCode.UNEXPECTED
    assert world.queue.visible == 1


def test_an_engine_that_hangs_is_replaced(tmp_path: Path, media: str) -> None:
    world = World(tmp_path, engine_stall_seconds=1)
    world.engine.hold()
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    daemon = world.start()
    eventually(lambda: world.engine.submitted)
    world.engine.hang()
    world.engine.release()
    eventually(lambda: not len(world.queue))
    assert (world.result("one") or {})["status"] == "succeeded"
    assert b"sqscribe_engine_restarts_total 1.0" in daemon._components.metrics.render()[1]
    world.stop()


def test_idle_long_enough_is_the_end_when_asked_for(tmp_path: Path, media: str) -> None:
    world = World(tmp_path, exit_when_idle=0.5)
    world.send({"source": f"{media}/hello.wav", "job_id": "one"})
    world.start()
    world.thread.join(30)
    assert world.code is ExitCode.DONE
    assert len(world.queue) == 0


def test_no_more_is_received_than_there_is_room_for(tmp_path: Path, media: str) -> None:
    # Given room for 20 s of prepared audio, jobs of 20 s of which the engine finishes none
    world = World(tmp_path, buffer_seconds=20, downloaders=2)
    world.engine.hold()
    for number in range(20):
        world.send({"source": f"{media}/numbers.mp3", "job_id": f"job-{number}"})
    daemon = world.start()
    eventually(lambda: daemon._components.pipeline.stage_jobs(Stage.WAIT) >= 1)
    threading.Event().wait(1.0)  # time in which a worker that does not stop would take more
    # Then only the first receive's messages are held, and the others stay for other workers
    assert world.queue.visible >= 16
    world.engine.release()
    eventually(lambda: not len(world.queue), seconds=60)
    world.stop()
