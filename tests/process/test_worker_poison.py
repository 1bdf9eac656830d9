# SPDX-License-Identifier: Apache-2.0
"""The whole worker around a real inference process that input or device brings down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sqscribe import bundled
from sqscribe.errors import ExitCode
from sqscribe.job import JobDefaults
from sqscribe.job_message import parse_job
from stages.inference.client.client import EngineClient
from stages.inference.protocol import EngineSettings
from stages.ports import Clock
from worker.build import build_worker
from worker.connect import Connections
from worker.node.clock import SystemClock
from worker.node.models import SIMULATED
from worker.queues import Message, Outgoing
from worker.receive.messages import Parsed
from worker.settings import Settings
from worker.testing.queue import FakeQueue
from worker.testing.store import MemoryStore

pytestmark = pytest.mark.process

OUTPUT = "s3://bucket/out"


class World:
    """A worker with a simulated device in a real process, and what is around it."""

    def __init__(self, folder: Path, model: str, **settings: Any) -> None:
        clock = SystemClock()
        self.dead_letters = FakeQueue(clock, url="https://sqs.test/1/dead")
        self.queue = FakeQueue(clock, visibility_timeout=30, max_receives=3, dead_letters=self.dead_letters)
        self.store = MemoryStore()
        self.code: ExitCode | None = None

        def make_engine(resolved: EngineSettings, clock: Clock) -> EngineClient:
            return EngineClient(
                replace(resolved, model=model, batch_size=4),
                clock,
                SIMULATED,
                restart_delay=0.01,
                recycle_windows=settings.get("engine_recycle_windows", 0),
            )

        def parse(message: Message) -> Parsed:
            job = parse_job(json.loads(message.body), JobDefaults(OUTPUT))
            return Parsed(jobs=(replace(job, source=str(bundled.control_clip().path)),))

        values = {"output": OUTPUT, "http_port": 0, "scratch_dir": folder, "shutdown_grace": 6, "model": "demo"}
        self.daemon = build_worker(
            Settings(_env_file=None, **{**values, **settings}),
            lambda *_: Connections(self.queue, self.store, parse, allow_local=True),
            make_engine,
        )
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.code = self.daemon.run()

    def send(self, job: str, **fields: Any) -> None:
        body = {"source": "https://media.test/clip.wav", "job_id": job, **fields}
        self.queue.send(None, Outgoing(json.dumps(body)))

    def result(self, job: str) -> dict[str, Any]:
        return dict(json.loads(self.store.objects[f"{OUTPUT}/{job}/result.json"]))

    def metric(self, name: str, **labels: str) -> float | None:
        return self.daemon._components.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(model: str, **settings: Any) -> World:
        worlds.append(World(tmp_path, model, **settings))
        worlds[-1].thread.start()
        return worlds[-1]

    yield make
    for world in worlds:
        world.daemon.stop(ExitCode.DONE, "the test is over")
        world.thread.join(20)
        assert not world.thread.is_alive()


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits until something holds that no event tells of: it stands in the fakes."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never came about"
        pause.wait(0.02)


def said() -> str:
    """A simulated device that hears its control recording right, and that in everything."""
    return f"text={bundled.control_clip().text.replace(' ', '+')}"


def test_a_job_that_crashes_the_engine_is_recorded_and_dead_lettered_and_costs_no_other_job_anything(
    make: Callable[..., World],
) -> None:
    # Given five jobs, one of which crashes the process, and one more that hangs it
    world = make(said(), engine_stall_seconds=1.0)
    jobs = [f"good-{number}" for number in range(5)]
    for number, job in enumerate(jobs):
        world.send(job)
        if number == 2:
            world.send("bad", hotwords="crash")
            world.send("stuck", hotwords="hang")

    # When all messages have met their disposition
    eventually(lambda: not len(world.queue))

    # Then five have succeeded, and two are recorded and dead-lettered with their reason
    assert [world.result(job)["status"] for job in jobs] == ["succeeded"] * 5
    assert [world.result(job)["attempts"] for job in jobs] == [1] * 5
    for job, reason in (("bad", "SIGSEGV"), ("stuck", "hung")):
        result = world.result(job)
        assert (result["status"], result["error"]["code"]) == ("failed", "inference_failed")
        assert reason in result["error"]["message"]
    assert len(world.dead_letters) == 2
    assert world.metric("sqscribe_job_errors_total", code="inference_failed") == 2
    restarts = world.metric("sqscribe_engine_restarts_total")
    assert restarts is not None
    assert 3 <= restarts <= 9
    assert world.daemon.status()["phase"] == "running"


def test_an_engine_that_mishears_its_control_recording_again_and_again_ends_the_worker(
    make: Callable[..., World],
) -> None:
    # Given a device that answers with empty text
    world = make("silent=true")
    world.send("job")

    # Then the worker ends with the code for it, and has not touched the message
    world.thread.join(60)
    assert world.code is ExitCode.ENGINE_BROKEN
    assert world.queue.visible == 1
    assert world.metric("sqscribe_engine_restarts_total") == 2


def test_an_engine_is_recycled_without_anybody_noticing(make: Callable[..., World]) -> None:
    world = make(said(), engine_recycle_windows=1)
    for number in range(4):
        world.send(f"job-{number}")

    eventually(lambda: not len(world.queue))

    assert [world.result(f"job-{number}")["status"] for number in range(4)] == ["succeeded"] * 4
    assert world.metric("sqscribe_engine_restarts_total") == 0


def test_the_engine_is_built_with_the_setting_for_its_recycling(tmp_path: Path) -> None:
    queue = FakeQueue(SystemClock())
    settings = Settings(_env_file=None, model="demo", scratch_dir=tmp_path, http_port=0, engine_recycle_windows=7)

    parts = build_worker(settings, lambda *_: Connections(queue, MemoryStore(), lambda _: Parsed(jobs=())))._components

    assert isinstance(parts.engine, EngineClient)
    assert parts.engine._recycle_windows == 7
    parts.scratch.close()
