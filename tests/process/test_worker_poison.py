# SPDX-License-Identifier: Apache-2.0
"""The whole worker around a real inference process that input or device brings down."""

from __future__ import annotations

import json
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
from worker.queues import Message
from worker.receive.messages import Parsed
from worker.settings import Settings
from worker.testing.queue import FakeQueue
from worker.testing.store import MemoryStore
from worker.testing.waiting import eventually
from worker.testing.world import OUTPUT, World

pytestmark = pytest.mark.process


def parse(message: Message) -> Parsed:
    """Whatever the source is, it is the control recording."""
    job = parse_job(json.loads(message.body), JobDefaults(OUTPUT))
    return Parsed(jobs=(replace(job, source=str(bundled.control_clip().path)),))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Starts workers around a simulated device in a real process."""
    worlds: list[World] = []

    def make(model: str, **settings: Any) -> World:
        def make_engine(resolved: EngineSettings, clock: Clock) -> EngineClient:
            return EngineClient(
                replace(resolved, model=model, batch_size=4),
                clock,
                SIMULATED,
                restart_delay=0.01,
                recycle_windows=settings.get("engine_recycle_windows", 0),
            )

        world = World(tmp_path, parse=parse, make_engine=make_engine, allow_local=True, model="demo", **settings)
        worlds.append(world)
        world.start()
        return world

    yield make
    for world in worlds:
        world.close()


def send(world: World, job: str, **fields: Any) -> None:
    world.send({"source": "https://media.test/clip.wav", "job_id": job, **fields})


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
        send(world, job)
        if number == 2:
            send(world, "bad", hotwords="crash")
            send(world, "stuck", hotwords="hang")

    # When all messages have met their disposition
    eventually(lambda: not len(world.queue))

    # Then five have succeeded, and two are recorded and dead-lettered with their reason
    assert [world.status(job) for job in jobs] == ["succeeded"] * 5
    assert [(world.result(job) or {})["attempts"] for job in jobs] == [1] * 5
    for job, reason in (("bad", "SIGSEGV"), ("stuck", "hung")):
        result = world.result(job) or {}
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
    send(world, "job")

    # Then the worker ends with the code for it, and has not touched the message
    world.thread.join(60)
    assert world.code is ExitCode.ENGINE_BROKEN
    assert world.queue.visible == 1
    assert world.metric("sqscribe_engine_restarts_total") == 2


def test_an_engine_is_recycled_without_anybody_noticing(make: Callable[..., World]) -> None:
    world = make(said(), engine_recycle_windows=1)
    for number in range(4):
        send(world, f"job-{number}")

    eventually(lambda: not len(world.queue))

    assert [world.status(f"job-{number}") for number in range(4)] == ["succeeded"] * 4
    assert world.metric("sqscribe_engine_restarts_total") == 0


def test_the_engine_is_built_with_the_setting_for_its_recycling(tmp_path: Path) -> None:
    queue = FakeQueue(SystemClock())
    settings = Settings(_env_file=None, model="demo", scratch_dir=tmp_path, http_port=0, engine_recycle_windows=7)

    parts = build_worker(settings, lambda *_: Connections(queue, MemoryStore(), lambda _: Parsed(jobs=())))._components

    assert isinstance(parts.engine, EngineClient)
    assert parts.engine._recycle_windows == 7
    parts.scratch.close()
