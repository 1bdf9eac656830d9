# SPDX-License-Identifier: Apache-2.0
"""The variables of a `model.bin`, in every form that CTranslate2 keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.inference.whisper.random_model import make_random_model
from stages.inference.whisper.weights import Weights

NAMES = ("encoder/conv1/weight", "encoder/layer_0/self_attention/linear_0/weight", "decoder/projection/weight")


def weights(folder: Path, quantization: str | None) -> Weights:
    return Weights(make_random_model(folder / str(quantization), layers=1, quantization=quantization) / "model.bin")


@pytest.mark.parametrize(
    ("quantization", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2), ("int16", 1e-2), ("int8", 2e-2)]
)
def test_values_are_those_before_they_were_quantised(tmp_path: Path, quantization: str, tolerance: float) -> None:
    exact, rounded = weights(tmp_path, None), weights(tmp_path, quantization)

    for name in NAMES:
        wanted, found = exact.values(name), rounded.values(name)
        assert found.dtype == np.float32
        assert found.shape == exact.dimensions(name)
        assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max(), name


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="encoder/layer_9"):
        weights(tmp_path, None).values("encoder/layer_9/ffn/linear_0/weight")
