# SPDX-License-Identifier: Apache-2.0
"""The encoder in torch beside CTranslate2's, on models with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.encoder import Encoder
from stages.inference.whisper.random_model import make_random_model
from stages.inference.whisper.shape import read_shape
from stages.inference.whisper.torch_encoder import TorchEncoder, torch_type
from stages.inference.whisper.weights import Weights

CPU = torch.device("cpu")
SAMPLES = [0.1 * np.random.default_rng(seed).standard_normal(16_000 * seed, np.float32) for seed in (1, 2, 3)]


def make(folder: Path, quantization: str | None = None, n_mels: int = 80) -> Path:
    return make_random_model(folder, layers=3, d_model=64, heads=4, n_mels=n_mels, quantization=quantization)


def torch_encoder(folder: Path, dtype: torch.dtype = torch.float32) -> TorchEncoder:
    return TorchEncoder(Weights(folder / "model.bin"), read_shape(folder), CPU, dtype)


def whisper(folder: Path) -> ctranslate2.models.Whisper:
    return ctranslate2.models.Whisper(str(folder), compute_type="float32")


def outputs(encoder: Encoder) -> np.ndarray:
    return np.stack([row.output.numpy() for row in encoder.encode(SAMPLES)])


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("quantization", [None, "float16", "bfloat16", "int16", "int8", "int8_float16"])
def test_its_output_is_that_of_ctranslate2_however_the_weights_are_kept(
    tmp_path: Path, quantization: str | None
) -> None:
    # Given a model whose weights are kept in one of the forms that CTranslate2 has
    folder = make(tmp_path, quantization)
    model = whisper(folder)

    # When three recordings are encoded by each, in single precision
    theirs = outputs(Encoder(model, CPU))
    ours = outputs(Encoder(model, CPU, torch_encoder(folder)))

    # Then the numbers are the same, row by row
    assert difference(ours, theirs) < 1e-5


def test_more_mel_bands_are_no_different(tmp_path: Path) -> None:
    folder = make(tmp_path, n_mels=128)
    model = whisper(folder)

    ours = outputs(Encoder(model, CPU, torch_encoder(folder)))

    assert difference(ours, outputs(Encoder(model, CPU))) < 1e-5


@pytest.mark.parametrize(("dtype", "least", "most"), [(torch.float16, 1e-5, 5e-3), (torch.bfloat16, 1e-4, 5e-2)])
def test_half_precision_is_computed_and_ctranslate2_takes_its_output(
    tmp_path: Path, dtype: torch.dtype, least: float, most: float
) -> None:
    # Given an encoder that computes in half precision
    folder = make(tmp_path)
    model = whisper(folder)
    encoder = Encoder(model, CPU, torch_encoder(folder, dtype))

    # When three recordings are encoded; then the numbers are rounded, and no more than that
    rows = encoder.encode(SAMPLES)
    exact = outputs(Encoder(model, CPU))
    assert least < difference(np.stack([row.output.float().numpy() for row in rows]), exact) < most

    # And the decoder hears the same in them
    heard = model.detect_language(encoder.batch(rows))
    expected = model.detect_language(ctranslate2.StorageView.from_array(exact))
    assert [row[0][0] for row in heard] == [row[0][0] for row in expected]


@pytest.mark.parametrize(
    ("compute_type", "dtype"),
    [
        ("float32", torch.float32),
        ("int8", torch.float32),
        ("int8_float32", torch.float32),
        ("float16", torch.float16),
        ("int8_float16", torch.float16),
        ("bfloat16", torch.bfloat16),
        ("int8_bfloat16", torch.bfloat16),
    ],
)
def test_the_compute_type_says_what_is_computed_in(compute_type: str, dtype: torch.dtype) -> None:
    assert torch_type(compute_type) == dtype


def test_weights_that_it_would_not_compute_with_are_refused(tmp_path: Path) -> None:
    # Given a file with one layer more than the encoder is to have, and then one with a layer less
    folder = make(tmp_path)
    shape = read_shape(folder)

    # Then both are refused by the name of what is wrong, with what to do
    for layers, named in ((2, "encoder/layer_2/"), (4, "encoder/layer_3/")):
        with pytest.raises(UnfitNodeError, match=rf"{named}.*SQSCRIBE_ENCODER"):
            TorchEncoder(Weights(folder / "model.bin"), replace(shape, encoder_layers=layers), CPU, torch.float32)


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    weights, shape = Weights(folder / "model.bin"), read_shape(folder)
    content = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(content[: weights.place("encoder/layer_2/ffn/linear_1/weight").start])

    with pytest.raises(UnfitNodeError, match="cannot be computed by torch"):
        TorchEncoder(weights, shape, CPU, torch.float32)
