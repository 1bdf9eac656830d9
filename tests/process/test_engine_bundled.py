# SPDX-License-Identifier: Apache-2.0
"""The whole engine, from the worker's side to the bundled model in its own process."""

from __future__ import annotations

import queue
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqscribe import bundled
from stages.inference.client.client import EngineClient
from stages.inference.engine.control import word_error_rate
from stages.inference.protocol import (
    ControlClip,
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    EngineFailed,
    EngineReady,
    EngineSettings,
    JobLanguage,
    WindowDone,
)
from stages.values import Piece, Window, WindowResult
from worker.node.clock import SystemClock

pytestmark = pytest.mark.process

PATIENCE = 120.0


@pytest.fixture
def events() -> queue.SimpleQueue[EngineEvent]:
    return queue.SimpleQueue()


@pytest.fixture
def engine(events: queue.SimpleQueue[EngineEvent]) -> Iterator[EngineClient]:
    clip = bundled.control_clip()
    settings = EngineSettings(
        model=str(bundled.model_path()),
        name="demo",
        device="cpu",
        control=ControlClip(str(clip.path), clip.text, clip.max_error_rate),
    )
    engine = EngineClient(settings, SystemClock())
    engine.start(events.put)
    yield engine
    engine.stop(10.0)


def pcm(clip: bundled.ControlRecording, folder: Path) -> tuple[Path, Window]:
    with wave.open(str(clip.path), "rb") as recording:
        samples = recording.getnframes()
        path = folder / f"{clip.name}.pcm"
        path.write_bytes(recording.readframes(samples))
    return path, Window(0, (Piece(0, 0, samples),), speech=samples, speech_end=int(clip.words[-1].end * 16_000))


def test_the_control_recordings_come_out_right_as_jobs_of_their_own(
    engine: EngineClient, events: queue.SimpleQueue[EngineEvent], tmp_path: Path
) -> None:
    # Given every recording as a job that names no language, submitted before the model is loaded
    clips = {clip.name: clip for clip in bundled.control_clips()}
    for clip in clips.values():
        path, window = pcm(clip, tmp_path)
        options = DecodeOptions(None, "transcribe", None, None, beam_size=5)
        engine.submit(DecodeTask(clip.name, str(path), (window,), options, probes=(0,)))

    # When all are done
    seen: list[EngineEvent] = []
    results: dict[str, WindowResult] = {}
    while len(results) < len(clips):
        seen.append(event := events.get(timeout=PATIENCE))
        assert not isinstance(event, EngineFailed), event.message
        if isinstance(event, WindowDone):
            results[event.job_key] = event.result

    # Then the engine had checked itself first, settled the only language it knows, and heard the words
    assert isinstance(ready := seen[0], EngineReady)
    assert (ready.info.name, ready.info.device, ready.info.languages) == ("demo", "cpu", ("en",))
    assert ready.info.startup_seconds > 0
    assert {event for event in seen if isinstance(event, JobLanguage)} == {
        JobLanguage(name, "en", 1.0) for name in clips
    }
    errors = {
        name: word_error_rate(clips[name].text, "".join(segment.text for segment in result.segments))
        for name, result in results.items()
    }
    assert max(errors.values()) <= 0.12, errors
    assert sum(errors.values()) / len(errors) <= 0.05, errors
