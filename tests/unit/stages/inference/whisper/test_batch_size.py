# SPDX-License-Identifier: Apache-2.0
"""The automatic batch size, beside what others have published of the memory that the same models take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.inference.whisper.batch_size import batch_size_on_gpu, row_bytes, value_bytes
from stages.inference.whisper.shape import ModelShape

ROOT = Path(__file__).parents[5]
MIB, GIB = 2**20, 2**30
#: What libraries, their kernels and cuBLAS take of a card before any model does.
CONTEXT = 500 * MIB

TURBO = ModelShape(128, 1280, 20, 32, 4, 51866, (), can_align=True)
LARGE_V2 = ModelShape(80, 1280, 20, 32, 32, 51865, (), can_align=True)
LARGE_V3 = ModelShape(128, 1280, 20, 32, 32, 51866, (), can_align=True)
DISTIL = ModelShape(128, 1280, 20, 32, 2, 51866, (), can_align=True)
MEDIUM = ModelShape(80, 1024, 16, 24, 24, 51865, (), can_align=True)
#: By name: the shape, and the parameters as OpenAI and the makers of distil-whisper give them.
MODELS = {
    "large-v3": (LARGE_V3, 1550e6),
    "large-v3-turbo": (TURBO, 809e6),
    "distil-large-v3": (DISTIL, 756e6),
    "medium": (MEDIUM, 769e6),
    "small": (ModelShape(80, 768, 12, 12, 12, 51865, (), can_align=True), 244e6),
    "base": (ModelShape(80, 512, 8, 6, 6, 51865, (), can_align=True), 74e6),
    "tiny": (ModelShape(80, 384, 6, 4, 4, 51865, (), can_align=True), 39e6),
}


def windows(name: str, gigabytes: int, *, beam_size: int = 5, parallel: int = 2, weight_bytes: int = 2) -> int:
    """Of a batch on a card that has nothing else to do."""
    shape, parameters = MODELS[name]
    free = gigabytes * GIB - CONTEXT - int(parameters * weight_bytes)
    return batch_size_on_gpu(shape, free, beam_size, parallel)


def total(shape: ModelShape, parameters: float, rows: int, weight_bytes: int = 2) -> float:
    """Of one batch, in MiB, as faster-whisper's tables give it: with the model and all that the device has in use."""
    return (CONTEXT + parameters * weight_bytes + rows * row_bytes(shape, 5)) / MIB


@pytest.mark.parametrize(("gigabytes", "least"), [(8, 6), (12, 14), (24, 40)])
def test_a_card_of_this_size_has_room_for_so_many_windows_of_the_largest_model(gigabytes: int, least: int) -> None:
    assert windows("large-v3", gigabytes) >= least


@pytest.mark.parametrize(("weight_bytes", "published"), [(2, 6090), (1, 4500)], ids=["float16", "int8"])
def test_a_batch_of_eight_takes_what_faster_whisper_has_published(weight_bytes: int, published: int) -> None:
    # https://github.com/SYSTRAN/faster-whisper#benchmark: large-v2, beam 5, `batch_size=8` on an RTX 3070 Ti of 8 GB
    assert 0.95 < total(LARGE_V2, 1550e6, 8, weight_bytes) / published < 1.05


def test_a_further_window_is_no_cheaper_than_published_and_half_as_dear_again_at_most() -> None:
    # From the same table: 6090 MB with eight windows and 4525 MB with one, whose decoder writes up to all positions.
    assert 1.0 <= row_bytes(LARGE_V2, 5) / MIB / ((6090 - 4525) / 7) <= 1.5


@pytest.mark.parametrize(
    ("name", "published"), [("large-v3", 4521), ("large-v3-turbo", 2537), ("distil-large-v3", 2409)]
)
def test_one_window_of_the_others_fits_what_users_have_measured(name: str, published: int) -> None:
    # https://github.com/SYSTRAN/faster-whisper/issues/1030: float16, beam 5, one window, an RTX 2080 Ti of 11 GB
    shape, parameters = MODELS[name]
    assert 0.8 < total(shape, parameters, 1) / published <= 1.0


@pytest.mark.parametrize(("name", "published"), [("large-v3", 50), ("medium", 64), ("small", 64)])
def test_batches_that_are_known_to_fit_are_not_held_to_be_too_large(name: str, published: int) -> None:
    # https://github.com/shashikg/WhisperS2T/issues/37: 50, 75 and 100 windows, beam 5, one batch, RTX 4090 of 24 GB
    assert windows(name, 24, parallel=1) >= published


def test_batches_are_smaller_for_bigger_models_less_memory_and_wider_beams() -> None:
    assert row_bytes(LARGE_V3, 5) > 2 * row_bytes(TURBO, 5)
    assert row_bytes(LARGE_V3, 10) > row_bytes(LARGE_V3, 5)
    assert windows("large-v3-turbo", 12) > windows("large-v3", 12) > windows("large-v3", 8)
    assert windows("large-v3", 12, parallel=1) > windows("large-v3", 12)
    assert batch_size_on_gpu(LARGE_V3, GIB // 2, 5, 2) == 1
    assert batch_size_on_gpu(TURBO, 139 * GIB, 5, 2) == 64


def test_single_precision_takes_twice_the_room_and_so_half_the_rows() -> None:
    assert [value_bytes(each) for each in ("float16", "int8_float16", "bfloat16", "int8_bfloat16")] == [2] * 4
    assert [value_bytes(each) for each in ("float32", "int8_float32", "int16")] == [4] * 3
    halves, singles = (batch_size_on_gpu(LARGE_V3, 16 * GIB, 5, 2, size) for size in (2, 4))
    assert halves // 2 <= singles < halves


@pytest.mark.parametrize("name", MODELS)
def test_the_table_in_the_documentation_is_what_comes_out(name: str) -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{re.escape(name)}` \| (\d+) \|((?: \d+ \|){{4}})", page, re.MULTILINE)
    shape, _ = MODELS[name]

    assert int(row[0]) == round(row_bytes(shape, 5) / MIB)
    assert [int(cell) for cell in row[1].split("|")[:-1]] == [windows(name, card) for card in (6, 8, 12, 24)]
