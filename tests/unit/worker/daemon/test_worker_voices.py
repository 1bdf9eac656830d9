# SPDX-License-Identifier: Apache-2.0
"""Channels and tracks apart, through a whole worker: from the message to its files."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqscribe.bundled import control_clips
from sqscribe.job import JobDefaults
from sqscribe.job_message import parse_job
from stages.inference.protocol import DecodeTask
from stages.values import SAMPLE_RATE, Window
from worker.node.clock import SystemClock
from worker.queues import Message
from worker.receive.messages import Parsed
from worker.testing.engine import FakeEngine
from worker.testing.waiting import eventually
from worker.testing.world import OUTPUT, World

#: Seconds of one side of the call.
SIDE = 60


def call(path: Path) -> Path:
    """Two speakers by turns, 12 s each, the second on the other channel; the first begins."""
    with wave.open(str(control_clips()[0].path)) as file:
        said = np.frombuffer(file.readframes(8 * SAMPLE_RATE), "<i2")
    sides = np.zeros((SIDE * SAMPLE_RATE, 2), "<i2")
    for turn, start in enumerate(range(0, SIDE - 12, 12)):
        sides[start * SAMPLE_RATE : start * SAMPLE_RATE + len(said), turn % 2] = said
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(sides.tobytes())
    return path


def told(task: DecodeTask, window: Window) -> str:
    """The second of its PCM file at which a window begins."""
    return f" {window.pieces[0].file_start // SAMPLE_RATE}"


def test_a_split_call_is_told_turn_by_turn(make: Callable[..., World], tmp_path: Path) -> None:
    path = call(tmp_path / "call.wav")

    def parse(message: Message) -> Parsed:
        fields: dict[str, Any] = json.loads(message.body)
        job = parse_job(fields | {"source": "s3://local/call"}, JobDefaults(OUTPUT))
        return Parsed((replace(job, source=str(path)),))

    # Given a call of a minute, and windows of one turn each
    world = make(parse=parse, allow_local=True)
    world.engine = FakeEngine(SystemClock(), text=told)
    options = {"max_window": 8, "formats": ["txt", "vtt"]}
    # When it is transcribed with its channels split, and mixed
    world.send({"job_id": "split", "channels": "split", **options})
    world.send({"job_id": "mixed", **options})
    world.start()
    eventually(lambda: not len(world.queue))

    def master(job: str) -> Any:
        return json.loads(world.store.objects[f"{OUTPUT}/{job}/transcript.json"])

    # Then the turns alternate on the file's clock, each with its channel; what was said second lies in the PCM file
    # behind all that the first one said
    segments = master("split")["segments"]
    assert [each["id"] for each in segments] == list(range(len(segments)))
    assert [each["start"] for each in segments] == sorted(each["start"] for each in segments)
    assert {each["channel"] for each in segments} == {0, 1}
    for each in segments:
        turn = int(each["start"] + 1) // 12
        assert each["channel"] == turn % 2
        assert int(each["text"]) in range(each["channel"] * SIDE, (each["channel"] + 1) * SIDE)
    assert [int(each["start"] + 1) // 12 for each in segments] == [0, 1, 2, 3]
    assert all("channel" not in each for each in master("mixed")["segments"])
    # and the file is as long as it is, with as much speech as both have
    split, mixed = world.result("split"), world.result("mixed")
    assert split is not None
    assert mixed is not None
    assert split["duration"] == mixed["duration"] == SIDE
    assert split["speech_duration"] == pytest.approx(mixed["speech_duration"], abs=0.5)
    assert split["speech_duration"] > 10
    text = world.store.objects[f"{OUTPUT}/split/transcript.txt"].decode().splitlines()
    assert [line.partition(":")[0] for line in text] == ["Channel 0", "Channel 1"] * 2
    assert world.store.objects[f"{OUTPUT}/split/transcript.vtt"].decode().count("<v Channel 1>") == 2
    assert world.scratch_files() == []
