# SPDX-License-Identifier: Apache-2.0
"""A model with random weights whose text always has the same length: every contender of a benchmark does the same."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel

from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    RANDOM_MARK,
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    EngineSettings,
    Progress,
    WindowDone,
)
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.random_model import make_random_model
from stages.values import SAMPLE_RATE, Piece, Window, WindowResult

pytestmark = pytest.mark.process

TOKENS = 40
#: Of the windows: a clip, a part of one and full ones.
LENGTHS = (30.0, 4.0, 17.5, 30.0, 29.0)


@pytest.fixture(scope="module", params=[(64, 2), (96, 3)], ids=["64 wide", "96 wide"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    d_model, layers = request.param
    folder = make_random_model(
        tmp_path_factory.mktemp("steady"),
        layers=layers,
        decoder_layers=2,
        d_model=d_model,
        heads=2,
        languages=("en", "de"),
        words=5000,
        text_tokens=TOKENS,
        steady=True,
        quantization="float16",
    )
    (folder / RANDOM_MARK).touch()
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loud everywhere, and another sound in every window."""
    random = np.random.default_rng(1)
    parts = []
    for number, seconds in enumerate(LENGTHS, start=1):
        time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        parts.append(np.sin(2 * np.pi * 150 * number * time) * 6_000 + random.normal(0, 900, len(time)))
    path = tmp_path_factory.mktemp("pcm") / "noise"
    path.write_bytes(np.concatenate(parts).astype("<i2").tobytes())
    return path


def windows() -> tuple[Window, ...]:
    made, start = [], 0
    for index, seconds in enumerate(LENGTHS):
        samples = round(seconds * SAMPLE_RATE)
        made.append(Window(index, (Piece(0, start, samples),), speech=samples, speech_end=samples))
        start += samples
    return tuple(made)


def decoded(folder: Path, noise: Path, compute_type: str, beam_size: int) -> dict[int, WindowResult]:
    decoder = WhisperDecoder.load(
        EngineSettings(model=str(folder), name="steady", device="cpu", compute_type=compute_type, cpu_threads=1)
    )
    events: list[EngineEvent | Progress] = []
    scheduler = Scheduler(decoder, events.append, retry_seconds=0.0)
    options = DecodeOptions("en", "transcribe", None, None, beam_size)
    scheduler.add(DecodeTask("job", str(noise), windows(), options))
    while batch := scheduler.take(3, timeout=0.0):
        scheduler.give(batch, decoder.run(batch.rows))
    return {event.result.index: event.result for event in events if isinstance(event, WindowDone)}


@pytest.mark.parametrize(("compute_type", "beam_size"), [("int8", 5), ("float32", 1)])
def test_every_window_has_as_many_words_and_is_decoded_once(
    folder: Path, noise: Path, compute_type: str, beam_size: int
) -> None:
    results = decoded(folder, noise, compute_type, beam_size)

    assert sorted(results) == list(range(len(LENGTHS)))
    for result in results.values():
        words = [word for segment in result.segments for word in segment.words or ()]
        assert len({word.word for word in words}) > 0.8 * TOKENS  # no loop, which would be decoded again
        assert len(words) == TOKENS
        assert (result.retries, result.dropped, result.temperature) == ((), None, 0.0)
        assert result.avg_logprob > -0.5
        assert result.no_speech_prob < 0.1


def test_words_are_spread_over_the_window(folder: Path, noise: Path) -> None:
    results = decoded(folder, noise, "int8", 5)

    for index in (0, 3):  # a full window; a shorter one is over before all words have had their turn
        words = [word for segment in results[index].segments for word in segment.words or ()]
        starts = [word.start for word in words]
        assert starts == sorted(starts)
        assert words[-1].end > 28.0
        assert max(late - early for early, late in pairwise(starts)) < 4 * 30.0 / TOKENS


def test_faster_whisper_decodes_as_much_one_by_one_and_in_batches(folder: Path) -> None:
    # Given 65 s of sound, with no pauses to cut at
    random = np.random.default_rng(2)
    sound = (random.normal(0, 0.1, 65 * SAMPLE_RATE)).astype(np.float32)
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    shared = {"language": "en", "beam_size": 5, "patience": 2.0, "temperature": 0.0}

    for words in (False, True):
        # When it goes through the file by its timestamps, and in batches without them
        alone, _ = model.transcribe(sound, condition_on_previous_text=False, word_timestamps=words, **shared)
        clips = [{"start": 0.0, "end": 30.0}, {"start": 30.0, "end": 60.0}, {"start": 60.0, "end": 65.0}]
        batched, _ = BatchedInferencePipeline(model).transcribe(
            sound, batch_size=3, clip_timestamps=clips, word_timestamps=words, **shared
        )

        # Then each makes three windows of it, with as many words in each
        for segments in (list(alone), list(batched)):
            assert [len(segment.text.split()) for segment in segments] == [TOKENS] * 3
