# SPDX-License-Identifier: Apache-2.0
"""The check at the start with released weights: as they are, and as fine-tunes for other languages."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from sqscribe.errors import EngineBrokenError
from sqscribe_bench.real.audio import read, wav
from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.packages import MODELS
from sqscribe_bench.real.recordings import Recording, spoken
from stages.inference.engine import control
from stages.inference.engine.comparison import Comparison
from stages.inference.protocol import ControlClip, EngineSettings
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.model import LoadedModel, load_model
from stages.values import SAMPLE_RATE, Piece, Window
from worker.node.models import engine_settings
from worker.settings import Settings


def worker_settings(folder: Path, scratch: Path, **more: object) -> EngineSettings:
    """As a worker has them for a folder."""
    settings = Settings(_env_file=None, model=str(folder), device="cpu", **more)  # type: ignore[arg-type]
    return engine_settings(settings, lambda *_: None, scratch, "json")


@pytest.fixture(scope="module")
def folder(cache: Cache) -> Path:
    try:
        return cache.item(MODELS["base"])
    except CannotBeHadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def base(folder: Path) -> LoadedModel:
    return load_model(EngineSettings(model=str(folder), name="base", device="cpu"))


@pytest.fixture(scope="module")
def german() -> Recording:
    try:
        return spoken("de")[0]
    except CannotBeHadError as error:
        pytest.skip(str(error))


def tuned(model: LoadedModel, language: str) -> WhisperDecoder:
    """A decoder of a model that answers in one language, whichever it is told."""
    ids = model.vocabulary._language_ids
    vocabulary = copy.copy(model.vocabulary)
    vocabulary._language_ids = dict.fromkeys(ids, ids[language])
    return WhisperDecoder(replace(model, vocabulary=vocabulary))


def test_base_understands_the_control_recording(base: LoadedModel, folder: Path, tmp_path: Path) -> None:
    clip = worker_settings(folder, tmp_path).control
    assert clip is not None
    assert control.check(WhisperDecoder(base), replace(clip, must_understand=True), beam_size=5) <= clip.max_error_rate


@pytest.mark.parametrize("language", ["de", "fr", "ja"])
def test_a_fine_tune_for_another_language_starts(
    base: LoadedModel, folder: Path, tmp_path: Path, language: str
) -> None:
    # Given a model in a folder of which nobody knows what it was trained for
    clip = worker_settings(folder, tmp_path).control
    assert clip is not None

    # When it is checked; then it starts, though the words are not those of the recording
    assert control.check(tuned(base, language), clip, beam_size=5) > clip.max_error_rate


@pytest.mark.parametrize(("compute_type", "least"), [("float32", 0.999), ("int8", 0.95)])
def test_a_device_that_works_is_far_from_the_limit(
    folder: Path, german: Recording, tmp_path: Path, compute_type: str, least: float
) -> None:
    model = load_model(EngineSettings(model=str(folder), name="base", device="cpu", compute_type=compute_type))
    path = tmp_path / "german.pcm"
    path.write_bytes(wav(read(german.path))[44:])
    samples = int(min(german.seconds, 30.0) * SAMPLE_RATE)
    window = Window(0, (Piece(0, 0, samples),), speech=samples, speech_end=samples)

    compared = WhisperDecoder(model).compare(str(path), window, "de", german.text)

    assert isinstance(compared, Comparison)
    assert compared.faults == ()
    assert min(compared.encoder, compared.decoder) > least
    assert abs(compared.unlikelier) < 2.0


def test_a_recording_of_ones_own_is_understood_in_its_language(
    base: LoadedModel, folder: Path, german: Recording, tmp_path: Path
) -> None:
    # Given a German recording and its words in the settings
    path = tmp_path / "control.wav"
    path.write_bytes(wav(read(german.path)))
    clip = worker_settings(folder, tmp_path, control_clip=path, control_text=german.text).control
    assert isinstance(clip, ControlClip)

    # Then the model must get them right, and one that writes another language does not start
    assert control.check(WhisperDecoder(base), clip, beam_size=5) <= clip.max_error_rate
    with pytest.raises(EngineBrokenError, match="does not know the language of the recording"):
        control.check(tuned(base, "ja"), clip, beam_size=1)
