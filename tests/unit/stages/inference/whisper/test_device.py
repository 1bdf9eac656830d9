# SPDX-License-Identifier: Apache-2.0
"""The type that a model is computed in, by what the device has."""

from __future__ import annotations

import pytest
import torch

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.device import best_compute_type, find_device

#: As CTranslate2 tells of them, by compute capability (src/types.cc: half precision from 7.0, bfloat16 from 8.0, 8-bit
#: arithmetic from 6.1).
AMPERE = {
    "float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16",
}  # fmt: skip
TURING = {"float32", "float16", "int8", "int8_float32", "int8_float16"}
PASCAL = {"float32", "int8", "int8_float32"}
MAXWELL = {"float32"}


@pytest.mark.parametrize(
    ("supported", "roomy", "tight"),
    [
        (AMPERE, "float16", "int8_float16"),
        (AMPERE - {"float16"}, "bfloat16", "int8_bfloat16"),
        (TURING, "float16", "int8_float16"),
        (TURING - {"float16"}, "int8_float16", "int8_float16"),
        (PASCAL, "float32", "int8_float32"),
        (MAXWELL, "float32", "float32"),
    ],
    ids=["ampere", "without float16", "turing", "no float16 weights", "pascal", "maxwell"],
)
def test_a_gpu_has_the_best_of_its_types_and_smaller_weights_where_four_windows_do_not_fit(
    supported: set[str], roomy: str, tight: str
) -> None:
    asked: list[str] = []

    def windows(compute_type: str) -> int:
        asked.append(compute_type)
        return 3

    assert best_compute_type("cuda", supported) == roomy
    assert best_compute_type("cuda", supported, lambda _: 4) == roomy
    assert best_compute_type("cuda", supported, windows) == tight
    assert set(asked) <= {roomy}


def test_a_cpu_computes_in_8_bit_where_it_can() -> None:
    assert best_compute_type("cpu", {"int8", "int8_float32", "float32"}) == "int8"
    assert best_compute_type("cpu", {"float32"}) == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_another_gpu_than_the_first_is_asked_for_and_no_cpu_takes_its_place() -> None:
    assert find_device("auto") == find_device("cpu", 3) == torch.device("cpu")
    with pytest.raises(UnfitNodeError, match="GPU 1 was asked for, but CTranslate2 sees no such GPU"):
        find_device("auto", 1)
    with pytest.raises(UnfitNodeError, match="CUDA was asked for, but CTranslate2 sees no GPU"):
        find_device("cuda")
