# SPDX-License-Identifier: Apache-2.0
"""What every engine of the one list owes the worker, in its own process; an engine without a model here fails."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from sqscribe import bundled
from stages.inference.client.client import EngineClient
from stages.inference.parakeet.random_model import make_random_model
from stages.inference.protocol import DecodeOptions, DecodeTask, EngineFailed, EngineReady, JobLanguage, WindowDone
from stages.values import Piece, Window
from worker.node.clock import SystemClock
from worker.node.models import ENGINES, decoder_of, engine_settings
from worker.settings import Settings
from worker.testing.listener import EngineListener

pytestmark = pytest.mark.process

#: A small model for each engine, by its prefix; Whisper has none.
MODELS = {"": "demo", "simulated": "simulated:", "parakeet": "parakeet:"}
COUNT = 3


def test_every_engine_is_tested() -> None:
    assert set(MODELS) == {"", *ENGINES}


@pytest.mark.parametrize("model", MODELS.values(), ids=[prefix or "whisper" for prefix in MODELS])
@pytest.mark.parametrize("language", [None, "en"], ids=["detected", "given"])
def test_it_gives_the_text_of_each_window_once(model: str, language: str | None, tmp_path: Path) -> None:
    # Given an engine built as the worker builds it, and a job of three windows
    if model == "parakeet:":
        model += str(make_random_model(tmp_path / "model"))
    settings = Settings(_env_file=None, model=model, device="cpu", log_level="error")
    resolved = engine_settings(settings, lambda *_: None, tmp_path, "json")
    engine, listener = EngineClient(resolved, SystemClock(), decoder_of(model)), EngineListener()
    path, windows = recording(tmp_path)
    options = DecodeOptions(language, "transcribe", None, None, beam_size=5)

    # When it works on the job
    engine.start(listener)
    try:
        engine.submit(DecodeTask("job", str(path), windows, options, probes=() if language else (0, 2)))
        listener.until(lambda: len(listener.windows("job")) == COUNT or listener.all(EngineFailed))
    finally:
        engine.stop(10.0)

    # Then it says what it is, settles the language once if it was asked, and gives each window once
    info = listener.first(EngineReady).info
    assert info.name in (model, model.partition(":")[0])
    assert info.batch_size >= 1
    assert [event.language in info.languages for event in listener.all(JobLanguage)] == ([] if language else [True])
    listener.rest()
    assert sorted(listener.windows("job")) == list(range(COUNT))
    for result in (event.result for event in listener.all(WindowDone)):
        times = [time for segment in result.segments for time in (segment.start, segment.end)]
        assert result.segments
        assert result.language in info.languages
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= windows[result.index].seconds


def recording(folder: Path) -> tuple[Path, tuple[Window, ...]]:
    """A control clip that is spoken three times, with a window for each."""
    clip, path = bundled.control_clip(), folder / "audio.pcm"
    with wave.open(str(clip.path), "rb") as file:
        samples = file.getnframes()
        path.write_bytes(file.readframes(samples) * COUNT)
    end = int(clip.words[-1].end * 16_000)
    return path, tuple(Window(n, (Piece(0, n * samples, samples),), samples, end) for n in range(COUNT))
