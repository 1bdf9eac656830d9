# SPDX-License-Identifier: Apache-2.0
"""When two computations of the same thing agree."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stages.inference.engine.comparison import Comparison
from stages.inference.whisper.comparison import agreement

RANDOM = np.random.default_rng(1)
RIGHT = (RANDOM.standard_normal((200, 16)) + RANDOM.standard_normal(16)).astype(np.float32)


def test_the_same_numbers_agree_and_rounded_ones_nearly() -> None:
    assert agreement(RIGHT, RIGHT) == 1.0
    assert 0.95 < agreement(np.round(RIGHT * 4) / np.float32(4), RIGHT) < 1.0


@pytest.mark.parametrize(
    "broken",
    [
        np.full_like(RIGHT, np.nan),
        np.full_like(RIGHT, np.inf),
        np.zeros_like(RIGHT),
        np.broadcast_to(RIGHT.mean(axis=0), RIGHT.shape),
        RANDOM.standard_normal(RIGHT.shape).astype(np.float32),
        RIGHT[::-1],
        RIGHT[:-1],
        np.where(np.arange(len(RIGHT))[:, None] == 7, np.nan, RIGHT),
        RIGHT * 10,
    ],
    ids=["NaN", "infinite", "zeros", "always the same", "noise", "reversed", "shorter", "one NaN", "too large"],
)
def test_what_a_broken_device_gives_does_not(broken: np.ndarray) -> None:
    assert agreement(broken, RIGHT) < 0.1


def test_nothing_agrees_with_what_does_not_vary() -> None:
    assert agreement(np.ones_like(RIGHT), np.ones_like(RIGHT)) == 0.0


def compared(encoder: float = 0.99, decoder: float = 0.98, unlikelier: float = 0.5) -> tuple[str, ...]:
    return Comparison("another", encoder, decoder, steps=24, unlikelier=unlikelier).faults


def test_each_fault_is_named() -> None:
    assert compared() == ()
    assert ["encoder" in fault for fault in compared(encoder=0.1)] == [True]
    assert ["decoder's logits" in fault for fault in compared(decoder=0.1)] == [True]
    assert ["the text is none" in fault for fault in compared(unlikelier=9.0)] == [True]
    assert len(compared(math.nan, math.nan, math.nan)) == 3
