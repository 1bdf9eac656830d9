# SPDX-License-Identifier: Apache-2.0
"""Checkpoints, resuming and handing over: workers that live one after another, moved step by step in fake time.

Fetch, decode, publish, leases, queue and store semantics are the real ones; the engine gives digests of the audio, so
that a transcript from the wrong windows would show.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from sqscribe.job import Job
from stages.inference.protocol import EngineInfo, EngineReady
from stages.ports import Cancellation
from stages.values import SAMPLE_RATE, Audio, Piece, Window, Windows
from worker.build import Outside, build_worker
from worker.config import Settings
from worker.handover import copy_of
from worker.leases import LeaseState
from worker.lineage import MOST_GENERATIONS, Lineage
from worker.messages import Parsed
from worker.queues import BatchResult, Message, Outgoing
from worker.testing.clock import FakeClock
from worker.testing.decoder import simulated_info
from worker.testing.engine import FakeEngine
from worker.testing.queue import FakeQueue, Fault
from worker.testing.store import MemoryStore

OUTPUT = "s3://bucket/out"
BASE = f"{OUTPUT}/long"
#: Windows of the recording, a second each.
WINDOWS = 20
VISIBILITY = 30
#: SQSCRIBE_CHECKPOINT_SECONDS
INTERVAL = 60.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise: every second of it sounds different."""
    path = tmp_path_factory.mktemp("media") / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(random.Random(7).randbytes(2 * SAMPLE_RATE * WINDOWS))
    return path


class Cutter:
    """In the segmenter's place: cuts every so many seconds and finds speech everywhere."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._samples = round(seconds * SAMPLE_RATE)

    def cutter(self, vad: bool) -> str:
        return f"test vad={vad}"

    def segment(self, audio: Audio, vad: bool, cancellation: Cancellation) -> Windows:
        starts = range(0, audio.samples, self._samples)
        lengths = [min(self._samples, audio.samples - start) for start in starts]
        windows = tuple(
            Window(index, (Piece(0, start, length),), length, length)
            for index, (start, length) in enumerate(zip(starts, lengths, strict=True))
        )
        return Windows(audio, windows, audio.seconds, self.cutter(vad))


class Crash(BaseException):
    """The worker is killed."""


class Wire:
    """What a worker's calls go through. Cut, nothing comes through any more: for the world, the worker is dead.

    Args:
        calls: So many calls come through, and the last one's answer does not.
    """

    def __init__(self, calls: float = math.inf) -> None:
        self.calls = calls
        self.made: list[str] = []

    def carry(self, name: str, call: Callable[[], Any]) -> Any:
        self._refuse()
        self.calls -= 1
        self.made.append(name)
        answer = call()
        self._refuse()
        return answer

    def _refuse(self) -> None:
        if self.calls > 0:
            return
        if threading.current_thread() is threading.main_thread():
            raise Crash
        raise NodeFaultError("the worker is dead")


class WiredStore:
    def __init__(self, store: MemoryStore, wire: Wire) -> None:
        self._store = store
        self._wire = wire

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)
        return lambda *args, **options: self._wire.carry(name, lambda: method(*args, **options))


class WiredQueue:
    def __init__(self, queue: FakeQueue, wire: Wire) -> None:
        self._queue = queue
        self._wire = wire

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._queue, name)
        if name == "facts":
            return method
        if name not in {"extend", "release", "delete"}:
            return lambda *args: self._wire.carry(name, lambda: method(*args))

        def batch(*args: Any) -> BatchResult:
            try:
                answer: BatchResult = self._wire.carry(name, lambda: method(*args))
            except NodeFaultError as error:
                return BatchResult(failed={"all": str(error)})
            return answer

        return batch


class World:
    """The queue and the store, and the workers that come and go."""

    def __init__(self, tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch, **queue: Any) -> None:
        self.tmp_path = tmp_path
        self.recording = recording
        self.clock = FakeClock()
        self.dead_letters = FakeQueue(self.clock, url="https://sqs.test/1/dead", fifo=queue.get("fifo", False))
        options = {"max_receives": 10, **queue}
        self.queue = FakeQueue(self.clock, visibility_timeout=VISIBILITY, dead_letters=self.dead_letters, **options)
        self.store = MemoryStore()
        self.workers: list[Worker] = []
        self.cutter = Cutter()
        monkeypatch.setattr("worker.build.SystemClock", lambda: self.clock)
        monkeypatch.setattr("worker.build.Segmenter", lambda: self.cutter)

    def worker(self, **options: Any) -> Worker:
        worker = Worker(self, **options)
        self.workers.append(worker)
        return worker

    def send(self, attributes: dict[str, str] | None = None, group: str | None = None, **fields: Any) -> None:
        body = json.dumps({"job_id": "long", "source": str(self.recording), **fields})
        self.queue.send(None, Outgoing(body, attributes or {}, group, group and body))

    def lapse(self) -> None:
        """Whatever dead workers held becomes visible."""
        self.clock.advance(VISIBILITY + 1)

    def checkpoint(self) -> list[str]:
        """Names below `checkpoint/`, without the digest."""
        return [url.rsplit("/", 1)[1] for url in self.store.objects if f"{BASE}/checkpoint/" in url]

    def increments(self) -> list[str]:
        return [name for name in self.checkpoint() if name[0].isdigit()]

    def result(self) -> dict[str, Any]:
        return dict(json.loads(self.store.objects.get(f"{BASE}/result.json", b"{}")))

    @property
    def transcript(self) -> bytes:
        return self.store.objects[f"{BASE}/transcript.json"]

    @property
    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.wire.calls > 0]

    def close(self) -> None:
        for worker in self.alive:
            worker.die()


class Worker:
    """One life of a worker, moved by the test."""

    def __init__(
        self,
        world: World,
        *,
        wire: Wire | None = None,
        cutter: Cutter | None = None,
        language: str = "en",
        info: EngineInfo | None = None,
        most: int = 1,
        **settings: Any,
    ) -> None:
        self.world = world
        self.wire = wire or Wire()
        self.most = most
        self.engine = FakeEngine(world.clock, language=language, info=info, held=True)
        # The first event comes from the test's own thread, so that nothing has to be waited for.
        self.engine._events.clear()
        world.cutter = cutter or Cutter()
        outside = Outside(
            WiredQueue(world.queue, self.wire),
            WiredStore(world.store, self.wire),
            self._parse,
            allow_local=True,  # type: ignore[arg-type]
        )
        chosen = {
            "output": OUTPUT,
            "http_port": 0,
            "visibility_timeout": VISIBILITY,
            "checkpoint_seconds": INTERVAL,
            "scratch_dir": world.tmp_path / "scratch",
            **settings,
        }
        daemon = build_worker(Settings(_env_file=None, **chosen), lambda *_: outside, lambda *_: self.engine)
        self.parts = daemon._parts
        self.pipeline = self.parts.pipeline
        self.pipeline.on_event(EngineReady(self.engine._info))
        self.engine.start(self.pipeline.on_event)
        self.parts.deleter.start()

    @staticmethod
    def _parse(message: Message) -> Parsed:
        content = json.loads(message.body)
        known = {field.name for field in dataclasses.fields(Job)}
        jobs = [content] if isinstance(content, dict) else content
        made = [
            Job(**{"output": OUTPUT, **{name: value for name, value in job.items() if name in known}}) for job in jobs
        ]
        return Parsed(jobs=tuple(dataclasses.replace(job, formats=tuple(job.formats)) for job in made))

    @property
    def decoded(self) -> int:
        return self.pipeline.totals().windows

    @property
    def submitted(self) -> list[int]:
        """How many windows the engine was asked for, time by time."""
        return [len(task.windows) for task in self.engine.submitted]

    def outcomes(self) -> dict[str, int]:
        return {str(outcome): count for outcome, count in self.pipeline.totals().jobs.items()}

    def take(self) -> None:
        """Receives what is there and prepares it."""
        for lease in self.parts.leases.add(WiredQueue(self.world.queue, self.wire).receive(self.most, 0)):
            self.parts.intake._deal(lease)
        while self.parts.intake.waiting:
            task = self.parts.intake.next(0)
            assert task is not None
            self.pipeline.prepare(task, lambda: None)

    def decode(self, windows: int) -> None:
        """Lets the engine finish so many windows."""
        wanted = self.decoded + windows
        self.engine.release(windows)
        eventually(lambda: self.decoded == wanted)

    def pass_time(self, seconds: float) -> None:
        """Lets all heartbeats, and this worker's daemon and uploaders, do what they do meanwhile."""
        end = self.world.clock.now() + seconds
        while (left := end - self.world.clock.now()) > 0:
            due = min(worker.parts.leases.seconds_until_due() for worker in self.world.alive)
            self.world.clock.advance(min(left, max(due, 0.1)))
            for worker in self.world.alive:
                worker.parts.heartbeat._beat()
            self.work()

    def work(self) -> None:
        """One look of the daemon, and all that uploaders have to do."""
        self.pipeline.sweep()
        self.pipeline.save()
        while self.pipeline.upload_next(0.0, lambda: None):
            pass
        eventually(self._gathered)

    def _gathered(self) -> bool:
        """Whether no delete waits for company; lets a little time pass for those that do."""
        if self.parts.deleter.pending:
            self.world.clock.advance(0.1)
        return not self.parts.deleter.pending

    def finish(self) -> None:
        """Decodes all that is missing, publishes, and waits for the delete."""
        self.engine.release()
        eventually(lambda: not self.parts.pipeline._decoding.all())
        self.work()
        eventually(lambda: not self.parts.leases.count)

    def run(self) -> None:
        """A life without mishaps."""
        self.take()
        self.finish()

    def die(self) -> None:
        """Is gone: nothing of it reaches the world any more."""
        self.wire.calls = 0
        self.engine.stop(5)
        self.parts.deleter.stop(5)
        self.parts.scratch.close()


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits for what another thread brings about."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never came about"
        pause.wait(0.005)


@pytest.fixture
def world(tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path, recording, monkeypatch)
    yield world
    world.close()


@pytest.fixture
def make_world(tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**queue: Any) -> World:
        made.append(World(tmp_path, recording, monkeypatch, **queue))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def tight(make_world: Callable[..., World]) -> World:
    """A message may be received four times."""
    return make_world(max_receives=4)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> bytes:
    """The transcript of a worker that nothing happens to."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(tmp_path_factory.mktemp("undisturbed"), recording, monkeypatch)
        world.send()
        world.worker().run()
        world.close()
        return world.transcript


def interrupted(world: World, windows: int = 8, **options: Any) -> Worker:
    """A worker that has saved so many windows and finished two more when it is killed."""
    worker = world.worker(**options)
    worker.take()
    worker.decode(windows)
    worker.pass_time(INTERVAL)
    worker.decode(2)
    worker.die()
    world.lapse()
    return worker


# -- saving ------------------------------------------------------------------------------------------------------------


def test_a_long_job_is_saved_every_interval_as_increments_that_are_never_rewritten(world: World) -> None:
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


def test_all_of_it_is_gone_once_the_job_has_succeeded(world: World) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    worker.pass_time(INTERVAL)
    # Another cut of the same job, left over by a worker with another model
    world.store.put(f"{BASE}/checkpoint/{'0' * 32}/manifest.json", b"{}", "application/json")

    worker.finish()

    assert sorted(world.store.objects) == [f"{BASE}/result.json", f"{BASE}/transcript.json"]
    calls = [(call.operation, call.url.removeprefix(BASE)) for call in world.store.calls]
    assert calls.index(("put_if_absent", "/result.json")) < calls.index(("keys", "/checkpoint/"))


def test_checkpoints_that_cannot_be_removed_cost_nothing(world: World) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    worker.pass_time(INTERVAL)
    world.store.script("delete", NodeFaultError("away"))
    worker.finish()
    assert world.result()["status"] == "succeeded"
    assert len(world.queue) == 0


def test_a_short_job_makes_no_call_for_checkpoints(world: World) -> None:
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


def test_nor_does_a_second_receive_make_more_than_one(world: World) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.die()
    world.lapse()
    calls = len(world.store.calls)
    world.worker().run()
    assert [call.operation for call in world.store.calls[calls:]] == ["get", "keys", "put_if_absent", "put_if_absent"]


def test_a_store_that_is_away_costs_the_job_nothing_and_is_asked_again(world: World) -> None:
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
    assert worker.parts.faults.current is None
    worker.finish()
    assert world.result()["status"] == "succeeded"


def test_nothing_is_saved_for_a_job_whose_lease_is_lost(world: World) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    world.queue.script("extend", Fault(code="ReceiptHandleIsInvalid", entries=frozenset({0})), times=9)
    worker.pass_time(2 * INTERVAL)
    assert world.store.objects == {}
    assert worker.outcomes() == {"lease_lost": 1}


def test_a_last_window_that_comes_during_a_save_is_published_after_it(world: World) -> None:
    # Given a save during which the engine finishes the job
    world.send()
    worker = world.worker()
    worker.take()
    worker.decode(8)
    put = world.store.put

    def slow(*args: Any, **options: Any) -> None:
        worker.engine.release()
        eventually(lambda: worker.decoded == WINDOWS)
        put(*args, **options)

    world.store.put = slow  # type: ignore[method-assign]
    worker.pass_time(INTERVAL)
    # Then it is published when the save is over, and what the save wrote is removed
    assert world.result()["status"] == "succeeded"
    assert world.checkpoint() == []


# -- resuming ----------------------------------------------------------------------------------------------------------


def test_the_next_worker_decodes_only_what_is_missing(world: World, expected: bytes) -> None:
    # Given a worker that is killed with 8 windows saved and 2 more finished
    world.send()
    first = interrupted(world)
    assert first.decoded == 10
    # When another one gets the message
    second = world.worker()
    second.run()
    # Then it decodes the other 12, and the transcript is as if nothing had happened
    assert second.submitted == [WINDOWS - 8]
    assert world.transcript == expected
    assert world.result()["attempts"] == 2
    assert world.checkpoint() == []


def test_a_third_one_unites_what_two_have_saved(world: World, expected: bytes) -> None:
    world.send()
    interrupted(world, 8)
    interrupted(world, 5)
    third = world.worker()
    third.run()
    assert third.submitted == [WINDOWS - 8 - 5]
    assert world.transcript == expected


def test_a_job_with_every_window_saved_does_not_go_to_the_engine(world: World, expected: bytes) -> None:
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


def add_last_window(world: World, expected: bytes) -> None:
    """Puts the last window's result beside the ones that are saved."""
    (url,) = (url for url in world.store.objects if "/0001-" in url)
    content = json.loads(world.store.objects[url])
    text = json.loads(expected)["segments"][-1]["text"]
    last = json.loads(json.dumps(content["results"][-1])) | {"index": WINDOWS - 1}
    last["segments"][0]["text"] = last["segments"][0]["words"][0]["word"] = text
    increment = {**content, "results": [last]}
    world.store.put(url.replace("/0001-", "/0002-"), json.dumps(increment).encode(), "application/json")


def test_the_settled_language_is_not_asked_for_again(world: World) -> None:
    world.send()
    interrupted(world, language="de")
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
def test_work_for_other_wishes_is_not_taken_up(world: World, other: dict[str, Any]) -> None:
    # Given a job that was begun, and then sent with other options under the same id
    world.send()
    interrupted(world)
    world.send(**other)
    # When a worker gets both
    worker = world.worker(most=2)
    worker.take()
    # Then only the first one's work is taken up
    assert worker.submitted == [12, sum(WINDOWS - k for k in [1 if other.keys() & {"start", "end"} else 0])]


def test_work_on_other_bytes_or_by_another_model_is_not_taken_up(world: World, tmp_path: Path) -> None:
    world.send()
    interrupted(world)
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
def test_an_increment_that_cannot_be_read_costs_its_windows_alone(world: World, expected: bytes, broken: bytes) -> None:
    world.send()
    interrupted(world, 8)
    interrupted(world, 5)
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
def test_a_manifest_that_cannot_be_read_is_replaced(world: World, expected: bytes, broken: bytes) -> None:
    world.send()
    interrupted(world)
    (manifest,) = (url for url in world.store.objects if url.endswith("manifest.json"))
    good = world.store.objects[manifest]
    world.store.put(manifest, broken, "application/json")
    # Then the next worker begins anew, and saves all the same
    second = interrupted(world, 5)
    assert second.submitted == [WINDOWS]
    assert world.store.objects[manifest] == good
    # And the one after it has the work of both, since both cut alike
    third = world.worker()
    third.run()
    assert third.submitted == [WINDOWS - 8]
    assert world.transcript == expected


def test_a_manifest_of_a_longer_recording_is_of_no_use(world: World) -> None:
    world.send()
    interrupted(world)
    (manifest,) = (url for url in world.store.objects if url.endswith("manifest.json"))
    content = json.loads(world.store.objects[manifest])
    content["windows"][-1]["pieces"][0]["length"] += 1
    world.store.put(manifest, json.dumps(content).encode(), "application/json")
    second = world.worker()
    second.take()
    assert second.submitted == [WINDOWS]


def test_a_store_that_may_not_be_listed_costs_no_more_than_the_checkpoint(world: World) -> None:
    world.send()
    interrupted(world)
    world.store.script("keys", PermanentError(ErrorCode.OUTPUT_FORBIDDEN, "no ListBucket"), times=9)
    worker = world.worker()
    worker.run()
    assert worker.submitted == [WINDOWS]
    assert world.result()["status"] == "succeeded"


# -- two at once -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "differs", [{"cutter": Cutter(2.0)}, {"language": "fr"}], ids=["another cut", "another language"]
)
def test_two_workers_never_mix_cuts_or_languages(world: World, expected: bytes, differs: dict[str, Any]) -> None:
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


def test_an_adopted_job_that_is_all_done_is_published(world: World, expected: bytes) -> None:
    # Given a worker with another cut that saves when all windows of the first one's stand
    world.send()
    world.send()
    one, other = world.worker(), world.worker(cutter=Cutter(2.0))
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
    world: World, expected: bytes
) -> None:
    # Given a store on which the last writer wins, and did
    world.send()
    interrupted(world)
    (manifest,) = (url for url in world.store.objects if url.endswith("manifest.json"))
    content = json.loads(world.store.objects[manifest])
    content["language"] = "fr"
    world.store.put(manifest, json.dumps(content).encode(), "application/json")
    # Then nothing that was heard as English is taken for French
    worker = world.worker()
    worker.take()
    assert worker.submitted == [WINDOWS]
    assert worker.engine.submitted[0].options.language == "fr"


# -- handing over ------------------------------------------------------------------------------------------------------


def numbers(queue: FakeQueue) -> list[str | None]:
    return [message.attributes.get("sqscribe_generation") for message in queue.messages]


def test_a_job_that_advances_goes_on_in_a_copy_before_its_receives_are_used_up(tight: World, expected: bytes) -> None:
    # Given a message that may be received four times, and workers that die each time
    tight.send({"tenant": "a"})
    interrupted(tight, 4)
    interrupted(tight, 2)
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


def test_one_that_does_not_advance_has_its_receives_and_no_more(tight: World) -> None:
    # Given a job that advanced once, and whose copy never does
    tight.send()
    interrupted(tight)
    interrupted(tight, 1)
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


def test_one_that_advances_at_its_last_receive_is_copied_then(tight: World) -> None:
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


def test_a_first_receive_is_never_the_last_but_one(make_world: Callable[..., World]) -> None:
    tight = make_world(max_receives=2)
    tight.send()
    worker = tight.worker()
    worker.take()
    worker.decode(3)
    worker.pass_time(INTERVAL)
    assert numbers(tight.queue) == [None]


def test_an_older_generation_is_deleted_unworked(tight: World) -> None:
    # Given a worker that dies between the send of a copy and the delete of the old message
    tight.send()
    interrupted(tight, 4)
    interrupted(tight, 2)
    wire = Wire()
    third = tight.worker(wire=wire)
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


def test_a_copy_that_cannot_be_sent_costs_the_job_nothing(tight: World, expected: bytes) -> None:
    tight.send()
    interrupted(tight, 4)
    interrupted(tight, 2)
    tight.queue.script("send", Fault(code="InternalError"))
    third = tight.worker()
    third.run()
    assert third.submitted == [WINDOWS - 6]
    assert tight.transcript == expected


def test_a_job_of_several_in_a_message_is_handed_over_alone(tight: World) -> None:
    # Given an event with two objects, of which one is a long job and the other keeps failing
    jobs = [
        {"job_id": "long", "source": str(tight.recording)},
        {"job_id": "gone", "source": str(tight.recording.parent / "gone.wav")},
    ]
    tight.queue.send(None, Outgoing(json.dumps(jobs)))
    interrupted(tight, 4)
    interrupted(tight, 2)
    worker = tight.worker()
    worker.take()
    worker.work()
    # Then the copy holds the long one alone
    (copy,) = (message for message in tight.queue.messages if "sqscribe_origin" in message.attributes)
    assert json.loads(copy.body)["job_id"] == "long"
    assert copy.attributes["sqscribe_origin"] == "m1"


def test_a_fifo_copy_stays_in_its_group_and_is_a_new_message(make_world: Callable[..., World]) -> None:
    tight = make_world(fifo=True, max_receives=4)
    tight.send(group="g")
    interrupted(tight, 4)
    interrupted(tight, 2)
    worker = tight.worker()
    worker.take()
    worker.work()
    (copy,) = tight.queue.messages
    assert copy.group_id == "g"
    assert copy.deduplication_id not in {None, copy.body}
    after = tight.worker()
    after.run()
    assert tight.result()["status"] == "succeeded"


def test_no_more_than_twenty_copies(tight: World, expected: bytes) -> None:
    # Given the twentieth copy of a message, at its last receive but one
    last = {"sqscribe_origin": "m0", "sqscribe_generation": str(MOST_GENERATIONS)}
    tight.send(last)
    interrupted(tight, 4)
    interrupted(tight, 2)
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
    binary = {"a1": {"DataType": "Number", "StringValue": "1"}, "b": {"DataType": "Binary", "BinaryValue": b"\x00"}}
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


def test_a_job_outlasts_the_twelve_hours_of_its_message(world: World, expected: bytes) -> None:
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


def near_the_ceiling(world: World, worker: Worker) -> None:
    """Takes a worker to the moment at which nothing is left of the twelve hours but what is confirmed."""
    while worker.parts.leases.snapshot()[0].state is not LeaseState.ENDING:
        world.clock.advance(worker.parts.leases.seconds_until_due())
        worker.parts.heartbeat._beat()


def test_what_is_finished_is_saved_before_the_copy_is_sent(world: World) -> None:
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


def test_a_job_that_has_nothing_to_show_is_left_to_the_queue(world: World) -> None:
    world.send()
    worker = world.worker()
    worker.take()
    near_the_ceiling(world, worker)
    worker.pass_time(2 * VISIBILITY)
    assert worker.outcomes() == {"lease_lost": 1}
    assert numbers(world.queue) == [None]


def test_a_copy_that_fails_near_the_ceiling_is_tried_again_soon(world: World) -> None:
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


def test_the_last_generation_at_its_ceiling_fails_with_a_reason(make_world: Callable[..., World]) -> None:
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


# -- crashes -----------------------------------------------------------------------------------------------------------


def eventful_life(worker: Worker) -> None:
    """Takes what is there, saves two increments if there is time for it, and publishes."""
    worker.take()
    for _ in range(2):
        if worker.pipeline._decoding.all():
            worker.decode(3)
            worker.pass_time(INTERVAL)
    worker.finish()


def lives_until_a_crash(world: World, calls: float) -> Worker:
    worker = world.worker(wire=Wire(calls))
    try:
        eventful_life(worker)
    except Crash:
        worker.die()
        world.lapse()
    return worker


def test_a_crash_after_any_single_call_loses_at_most_one_interval(
    make_world: Callable[..., World], expected: bytes
) -> None:
    """Whatever call is a worker's last, the next one finishes, and decodes at most what was not saved."""
    undisturbed = make_world()
    undisturbed.send()
    points = len(lives_until_a_crash(undisturbed, math.inf).wire.made)
    assert points > 12
    for calls in range(1, points):
        world = make_world()
        world.send()
        first = lives_until_a_crash(world, calls)
        second = world.worker()
        second.take()
        if second.parts.leases.count:
            second.finish()
        assert world.transcript == expected, first.wire.made
        assert world.result()["status"] == "succeeded", first.wire.made
        assert len(world.queue) == 0, first.wire.made
        assert first.decoded + sum(second.submitted) <= WINDOWS + 3 or first.decoded == WINDOWS, first.wire.made


def test_a_crash_after_any_single_call_of_a_handover_loses_nothing(
    make_world: Callable[..., World], expected: bytes
) -> None:
    """The same at the last receive but one: old message and copy, in whichever order they come, end in one result."""

    def begun() -> World:
        world = make_world(max_receives=4)
        world.send()
        interrupted(world, 4)
        interrupted(world, 2)
        return world

    undisturbed = begun()
    wire = lives_until_a_crash(undisturbed, math.inf).wire
    assert "send" in wire.made
    for calls in range(1, len(wire.made)):
        world = begun()
        lives_until_a_crash(world, calls)
        decoded = 0
        for _ in range(4):
            if not len(world.queue):
                break
            worker = world.worker(most=2)
            worker.run()
            decoded += worker.decoded
        assert len(world.queue) == 0, wire.made[:calls]
        assert len(world.dead_letters) == 0, wire.made[:calls]
        assert world.transcript == expected, wire.made[:calls]
        assert decoded <= 2 * (WINDOWS - 6), wire.made[:calls]
