# SPDX-License-Identifier: Apache-2.0
"""How many more messages there is room for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sqscribe.errors import NodeFaultError
from stages.inference.protocol import EngineLost, EngineReady
from stages.ports import Cancellation
from worker.jobs.buffer import AudioBuffer
from worker.jobs.engine_status import EngineStatus
from worker.jobs.room import PUBLISH_BACKLOG, Room
from worker.node.faults import NodeFaults
from worker.node.scratch import ScratchSpace
from worker.telemetry.metrics import Metrics
from worker.testing.clock import PassingClock
from worker.testing.decoder import simulated_info

#: Messages that may be received at once.
MOST = 6


@dataclass
class Bench:
    buffer: AudioBuffer
    scratch: ScratchSpace
    faults: NodeFaults
    engine: EngineStatus
    clock: PassingClock
    room: Room


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    clock = PassingClock()
    buffer, scratch = AudioBuffer(1000), ScratchSpace(tmp_path, 1000, clock)
    faults, engine = NodeFaults(clock), EngineStatus(Metrics())
    engine.changed(EngineReady(simulated_info()))
    yield Bench(buffer, scratch, faults, engine, clock, Room(buffer, scratch, faults, engine, MOST))
    scratch.close()


def test_without_a_job_whose_length_is_known_there_is_room_for_the_most(bench: Bench) -> None:
    assert bench.room.messages(backlog=0) == MOST


def test_the_mean_length_of_earlier_jobs_is_what_the_next_are_taken_for(bench: Bench) -> None:
    bench.room.note_length(300.0)
    assert bench.room.messages(backlog=0) == 3
    bench.room.note_length(50.0)  # a fifth of the mean: 250
    assert bench.room.messages(backlog=0) == 4
    bench.buffer.admit(700.0, Cancellation())
    assert bench.room.messages(backlog=0) == 1
    bench.buffer.admit(300.0, Cancellation())
    assert bench.room.messages(backlog=0) == 0


def test_there_is_none_while_finished_jobs_pile_up(bench: Bench) -> None:
    assert bench.room.messages(backlog=PUBLISH_BACKLOG - 1) == MOST
    assert bench.room.messages(backlog=PUBLISH_BACKLOG) == 0


def test_there_is_none_while_the_scratch_space_is_full(bench: Bench) -> None:
    with bench.scratch.job("one") as job:
        job.reserve(800, Cancellation())
        assert bench.room.messages(backlog=0) == 0
    assert bench.room.messages(backlog=0) == MOST


def test_there_is_none_while_the_engine_is_lost(bench: Bench) -> None:
    bench.engine.changed(EngineLost(-9, 1))
    assert bench.room.messages(backlog=0) == 0
    bench.engine.changed(EngineReady(simulated_info()))
    assert bench.room.messages(backlog=0) == MOST


def test_there_is_none_while_the_node_is_at_fault(bench: Bench) -> None:
    # Given a step that fails once, and a look at the room before it is tried again
    faults, seen = [NodeFaultError("full")], []

    def step() -> None:
        if faults:
            raise faults.pop()

    def meanwhile() -> float:
        seen.append(bench.room.messages(backlog=0))
        return math.inf

    bench.clock.meanwhile = meanwhile
    # When it is outlasted
    bench.faults.outlast("fetch", step, Cancellation())
    # Then there is room again
    assert seen == [0]
    assert bench.room.messages(backlog=0) == MOST
