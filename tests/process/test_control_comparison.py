# SPDX-License-Identifier: Apache-2.0
"""The check at the start with a model that does not understand the control recording, on devices that work or do not.

The model has random weights: like one for another language, it writes something else than what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch

from sqscribe import bundled
from sqscribe.errors import EngineBrokenError
from stages.inference.engine import control
from stages.inference.protocol import ControlClip, EngineSettings
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.model import LoadedModel, load_model
from stages.inference.whisper.random_model import make_random_model

pytestmark = pytest.mark.process

CLIP = bundled.control_clip()
#: As the worker has it for a model of which nobody knows what it understands.
ANY_MODEL = ControlClip(str(CLIP.path), CLIP.text, 0.85, must_understand=False)

Encode = Callable[[ctranslate2.StorageView], ctranslate2.StorageView]


class BrokenDevice:
    """A model on a device whose encoder, or whose decoder, gives something else."""

    def __init__(self, whisper: Any, *, encode: Callable[[Any], Any] | None = None, deaf: bool = False) -> None:
        self._whisper = whisper
        self._encode = encode
        self._deaf = deaf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whisper, name)

    def encode(self, features: ctranslate2.StorageView) -> ctranslate2.StorageView:
        output = self._whisper.encode(features)
        return output if self._encode is None else _view(self._encode(np.array(output)))

    def generate(self, encoded: ctranslate2.StorageView, *arguments: Any, **options: Any) -> Any:
        heard = _view(np.zeros_like(np.array(encoded))) if self._deaf else encoded
        return self._whisper.generate(heard, *arguments, **options)


def _view(values: np.ndarray) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(values, np.float32))


def settings(folder: Path, compute_type: str = "float32") -> EngineSettings:
    return EngineSettings(model=str(folder), name="any", device="cpu", compute_type=compute_type, cpu_threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("random"), layers=2, d_model=64)


@pytest.fixture
def model(folder: Path) -> LoadedModel:
    return load_model(settings(folder))


def check(model: LoadedModel, clip: ControlClip = ANY_MODEL) -> float:
    return control.check(WhisperDecoder(model), clip, beam_size=2)


@pytest.mark.parametrize("compute_type", ["float32", "int8"])
def test_another_text_passes_where_the_device_computes_what_the_files_say(folder: Path, compute_type: str) -> None:
    assert check(load_model(settings(folder, compute_type))) > 0.85


def test_a_model_that_should_have_understood_does_not_pass(model: LoadedModel) -> None:
    with pytest.raises(EngineBrokenError, match=r"The device works: compared with torch.* files are damaged"):
        check(model, replace(ANY_MODEL, must_understand=True))


def test_nor_does_one_that_knows_the_language_of_the_recording_alone(tmp_path: Path) -> None:
    english = load_model(settings(make_random_model(tmp_path, languages=())))

    with pytest.raises(EngineBrokenError, match="files are damaged"):
        check(english)


@pytest.mark.parametrize(
    "encode",
    [
        np.zeros_like,
        lambda output: np.full_like(output, np.nan),
        lambda output: np.random.default_rng(1).standard_normal(output.shape),
        lambda output: np.broadcast_to(output.mean(axis=1, keepdims=True), output.shape),
        lambda output: output[:, ::-1],
    ],
    ids=["zeros", "NaN", "noise", "always the same", "reversed"],
)
def test_a_broken_encoder_is_found(model: LoadedModel, encode: Callable[[Any], Any]) -> None:
    broken = replace(model, whisper=BrokenDevice(model.whisper, encode=encode))

    with pytest.raises(EngineBrokenError, match=r"Compared with torch on the CPU.* the encoder's output differs"):
        check(broken)


def test_so_is_a_broken_encoder_in_torch(folder: Path) -> None:
    # Given a model whose encoder torch computes, and the same with a device that gives nothing
    working = load_model(replace(settings(folder), encoder="torch"))
    computed = working.torch_encoder
    assert computed is not None
    broken = replace(working, torch_encoder=lambda features: torch.zeros_like(computed(features)))

    # Then the first one starts, and the other does not
    assert check(working) > 0.85
    with pytest.raises(EngineBrokenError, match=r"Compared with torch on the CPU.* the encoder's output differs"):
        check(broken)


def test_a_decoder_that_says_the_same_whatever_it_hears_is_found(model: LoadedModel) -> None:
    broken = replace(model, whisper=BrokenDevice(model.whisper, deaf=True))

    with pytest.raises(EngineBrokenError, match=r"Compared with torch on the CPU.* the decoder's logits differ"):
        check(broken)


class Mumbling(WhisperDecoder):
    """Its numbers are right, and its text is not: as a broken beam search has it."""

    text = ""

    def _timed_attempts(self, rows: Sequence[Any], attempts: Sequence[Any]) -> Any:
        tokens = self._vocabulary.prompt(self.text, None)[1:]
        mumbled = [replace(attempt, tokens=tokens, text=self.text, avg_logprob=-0.1) for attempt in attempts]
        return super()._timed_attempts(rows, mumbled)


def test_garbage_is_found_even_where_the_numbers_are_right(model: LoadedModel) -> None:
    decoder = Mumbling(model)
    decoder.text = "w3 w141 w59 w26 w53 w58 w97 w93"

    with pytest.raises(EngineBrokenError, match="the text is none that the decoder would write"):
        control.check(decoder, ANY_MODEL, beam_size=2)


def test_no_text_at_all_proves_nothing(model: LoadedModel) -> None:
    with pytest.raises(EngineBrokenError, match=r"says nothing at all.* SQSCRIBE_CONTROL_CLIP"):
        control.check(Mumbling(model), ANY_MODEL, beam_size=2)


def test_a_file_that_cannot_be_read_a_second_time_is_said(model: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\x06\x00")

    with pytest.raises(EngineBrokenError, match=r"no numbers to compare: model\.bin cannot be computed"):
        check(replace(model, folder=tmp_path))
