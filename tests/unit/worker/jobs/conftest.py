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
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from sqscribe.job import Job, JobRef
from sqscribe.tuning import Tuning
from stages.inference.protocol import EngineInfo, EngineReady
from stages.ports import Cancellation
from stages.values import SAMPLE_RATE, Audio, Piece, Window, Windows
from worker.build import build_worker
from worker.connect import Connections
from worker.queues import BatchResult, Message, Outgoing
from worker.receive.messages import Parsed, Rejected
from worker.settings import Settings
from worker.testing.clock import FakeClock
from worker.testing.engine import FakeEngine
from worker.testing.queue import FakeQueue
from worker.testing.store import MemoryStore
from worker.testing.waiting import eventually

OUTPUT = "s3://bucket/out"
BASE = f"{OUTPUT}/long"
#: Windows of the recording, a second each.
WINDOWS = 20
VISIBILITY = 30
#: SQSCRIBE_CHECKPOINT_SECONDS
INTERVAL = 60.0
#: Seconds between two looks at what another thread does. Nothing that it waits for takes longer than a moment.
PAUSE = 0.001


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

    def cutter(self, vad: bool, tuning: Tuning | None = None) -> str:
        return f"test vad={vad}"

    def segment(self, audio: Audio, vad: bool, cancellation: Cancellation, tuning: Tuning | None = None) -> Windows:
        places = [
            (start, voice.file_end)
            for voice in audio.voices
            for start in range(voice.file_start, voice.file_end, self._samples)
        ]
        starts = [start for start, _ in places]
        lengths = [min(self._samples, end - start) for start, end in places]
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

    Attributes:
        made: Names of the calls that came through, in order.
        after_call: Called after each of them.
    """

    def __init__(self, calls: float) -> None:
        self.calls = calls
        self.made: list[str] = []
        self.after_call: Callable[[], None] = lambda: None

    def carry(self, name: str, call: Callable[[], Any]) -> Any:
        self._refuse()
        self.calls -= 1
        self.made.append(name)
        answer = call()
        self.after_call()
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
        method: Callable[..., Any] = getattr(self._queue, name)
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

    base = BASE

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

    def interrupted(self, windows: int = 8, **options: Any) -> Worker:
        """A worker that has saved so many windows and finished two more when it is killed."""
        worker = self.worker(**options)
        worker.take()
        worker.decode(windows)
        worker.pass_time(INTERVAL)
        worker.decode(2)
        worker.die()
        self.lapse()
        return worker

    def until_a_crash(self, live: Callable[[Worker], None], calls: float, **options: Any) -> Worker:
        """A worker that is killed after so many calls, if it makes as many."""
        worker = self.worker(calls=calls, **options)
        try:
            live(worker)
        except Crash:
            worker.die()
            self.lapse()
        return worker

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
    """One life of a worker, moved by the test.

    Args:
        world: Where it lives.
        calls: So many calls of queue and store come through.
        window_seconds: How long it cuts windows.
        language: What it takes everything for.
        info: What its engine says of itself.
        most: Messages that it receives at once.
        rejects: Jobs that its engine refuses for now.
        **settings: Of `Settings`.
    """

    def __init__(
        self,
        world: World,
        *,
        calls: float = math.inf,
        window_seconds: float = 1.0,
        language: str = "en",
        info: EngineInfo | None = None,
        most: int = 1,
        rejects: tuple[str, ...] = (),
        **settings: Any,
    ) -> None:
        self.world = world
        self.wire = Wire(calls)
        self.most = most
        self.engine = FakeEngine(
            world.clock,
            language=language,
            info=info,
            held=True,
            rejects=lambda task: ErrorCode.INTERRUPTED if task.job_key.partition("-")[2] in rejects else None,
        )
        # The first event comes from the test's own thread, so that nothing has to be waited for.
        self.engine._events.clear()
        world.cutter = Cutter(window_seconds)
        connections = Connections(
            WiredQueue(world.queue, self.wire),
            WiredStore(world.store, self.wire),
            self._parse,
            allow_local=True,
        )
        chosen = {
            "output": OUTPUT,
            "http_port": 0,
            "visibility_timeout": VISIBILITY,
            "checkpoint_seconds": INTERVAL,
            "scratch_dir": world.tmp_path / "scratch",
            **settings,
        }
        daemon = build_worker(Settings(_env_file=None, **chosen), lambda *_: connections, lambda *_: self.engine)
        self.components = daemon._components
        self.pipeline = self.components.pipeline
        self.pipeline.on_event(EngineReady(self.engine._info))
        self.engine.start(self.pipeline.on_event)
        self.components.deleter.start()

    @staticmethod
    def _parse(message: Message) -> Parsed:
        content = json.loads(message.body)
        known = {field.name for field in dataclasses.fields(Job)}
        records = [content] if isinstance(content, dict) else content
        jobs = [record for record in records if "source" in record]
        error = PermanentError(ErrorCode.BAD_MESSAGE, "source: is required")
        rejected = [
            Rejected(JobRef(record["job_id"], OUTPUT), error, json.dumps(record))
            for record in records
            if record not in jobs
        ]
        made = [
            Job(**{"output": OUTPUT, **{name: value for name, value in job.items() if name in known}}) for job in jobs
        ]
        return Parsed(tuple(dataclasses.replace(job, formats=tuple(job.formats)) for job in made), tuple(rejected))

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
        for lease in self.components.leases.add(WiredQueue(self.world.queue, self.wire).receive(self.most, 0)):
            self.components.intake._deal(lease)
        while self.components.intake.waiting:
            task = self.components.intake.next(0)
            assert task is not None
            self.pipeline.prepare(task, lambda: None)

    def decode(self, windows: int) -> None:
        """Lets the engine finish so many windows."""
        wanted = self.decoded + windows
        self.engine.release(windows)
        eventually(lambda: self.decoded == wanted, pause=PAUSE)

    def pass_time(self, seconds: float) -> None:
        """Lets all heartbeats, and this worker's daemon and uploaders, do what they do meanwhile."""
        end = self.world.clock.now() + seconds
        while (left := end - self.world.clock.now()) > 0:
            due = min(worker.components.leases.seconds_until_due() for worker in self.world.alive)
            self.world.clock.advance(min(left, max(due, 0.1)))
            for worker in self.world.alive:
                worker.components.heartbeat._beat()
            self.work()

    def work(self) -> None:
        """One look of the daemon, and all that uploaders have to do."""
        self.pipeline.sweep()
        self.pipeline.save()
        while self.pipeline.upload_next(0.0, lambda: None):
            pass
        self._until(self._gathered)

    def _until(self, condition: Callable[[], object]) -> None:
        """Waits for what another thread brings about, unless that thread made the worker's last call."""
        eventually(lambda: condition() or self.wire.calls <= 0, pause=PAUSE)
        if not condition():
            raise Crash

    def _gathered(self) -> bool:
        """Whether no delete waits for company; lets a little time pass for those that do."""
        if self.components.deleter._pending:
            self.world.clock.advance(0.1)
        return not self.components.deleter._pending

    def finish(self) -> None:
        """Decodes all that is missing, publishes, and waits for the delete."""
        self.engine.release()

        def through() -> bool:
            self.work()
            return not self.components.leases.count

        self._until(through)

    def run(self) -> None:
        """A life without mishaps."""
        self.take()
        self.finish()

    def die(self) -> None:
        """Is gone: nothing of it reaches the world any more."""
        self.wire.calls = 0
        self.engine.stop(5)
        self.components.deleter.stop(5)
        self.components.scratch.close()


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
def wishes() -> dict[str, Any]:
    """What the job of `expected` asks for."""
    return {}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, recording: Path, wishes: dict[str, Any]) -> bytes:
    """The transcript of a worker that nothing happens to."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(tmp_path_factory.mktemp("undisturbed"), recording, monkeypatch)
        world.send(**wishes)
        world.worker().run()
        world.close()
        return world.transcript
