# SPDX-License-Identifier: Apache-2.0
"""The shape of a model, read from its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.random_model import make_random_model
from stages.inference.whisper.shape import ModelShape, read_shape

LARGE_V3 = ModelShape(128, 1280, 20, 32, 32, 51866, (), can_align=True)
TURBO = ModelShape(128, 1280, 20, 32, 4, 51866, (), can_align=True)
DISTIL = ModelShape(128, 1280, 20, 32, 2, 51866, (), can_align=True)


def test_shape_is_read_from_the_files(tmp_path: Path) -> None:
    folder = make_random_model(
        tmp_path, layers=3, decoder_layers=2, d_model=48, heads=4, n_mels=128, languages=("en", "yue"), words=10
    )

    shape = read_shape(folder)

    assert (shape.encoder_layers, shape.decoder_layers, shape.pruned) == (3, 2, True)
    assert (shape.d_model, shape.heads, shape.n_mels) == (48, 4, 128)
    assert shape.vocabulary == 11 + 2 + 2 + 6 + 1501
    assert len(shape.language_ids) == 2
    assert shape.can_align


def test_mel_bands_are_the_weights_and_alignment_heads_default_to_none(tmp_path: Path) -> None:
    folder = make_random_model(tmp_path, n_mels=128, alignment_heads=False)
    (folder / "preprocessor_config.json").unlink()

    shape = read_shape(folder)

    assert shape.n_mels == 128
    assert not shape.can_align
    assert not shape.pruned


@pytest.mark.parametrize(("shape", "distilled"), [(LARGE_V3, False), (TURBO, False), (DISTIL, True)], ids=repr)
def test_two_layers_of_a_decoder_are_a_distilled_model(shape: ModelShape, distilled: bool) -> None:
    assert shape.distilled is distilled


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitNodeError, match=r"config\.json is missing"):
        read_shape(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnfitNodeError, match="not a usable"):
        read_shape(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"\x06\x00\x00\x00" + b"\xff" * 3)
    with pytest.raises(UnfitNodeError, match="not a usable"):
        read_shape(tmp_path)
