# SPDX-License-Identifier: Apache-2.0
"""How much quiet speech is raised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.segment.level import _highest, _lowest, detection_lift, speech_gains

Levels = npt.NDArray[np.uint8]

#: Levels of what is brought to the target, and of the target, on the scale of `Track.levels` (full scale is 90).
TARGET = 68
VALUES = st.lists(st.integers(-100, 100), min_size=1, max_size=60)
LEVELS = st.lists(st.integers(0, 90), min_size=1, max_size=120)


def runs(*parts: tuple[int, int]) -> Levels:
    """Levels, each for so many frames."""
    return np.concatenate([np.full(frames, level, np.uint8) for level, frames in parts])


@given(VALUES, st.integers(0, 80))
def test_the_running_maximum_by_doubling_is_the_plain_one(values: list[int], reach: int) -> None:
    array = np.asarray(values, np.float32)

    plain = [max(values[max(at - reach, 0) : at + reach + 1]) for at in range(len(values))]
    lowest = [min(values[max(at - reach, 0) : at + reach + 1]) for at in range(len(values))]

    assert _highest(array, reach).tolist() == plain
    assert _lowest(array, reach).tolist() == lowest


@given(LEVELS)
def test_nothing_is_raised_above_the_target_nor_by_more_than_is_sensible(values: list[int]) -> None:
    levels = np.asarray(values, np.uint8)
    speech = levels > 20
    for gains, seen in (
        (detection_lift(levels), levels),
        (speech_gains(levels, speech), np.where(speech, levels, 0)),
    ):
        assert gains.dtype == np.float32
        assert len(gains) == len(levels)
        assert gains.min() >= 0
        assert gains.max() <= 45 + 1e-3
        # Gains are smoothed over five frames to either side, so this much of "nearby" is seen by all of them.
        peak = np.asarray(_highest(seen.astype(np.float32), 31 - 5))
        assert (peak + gains <= np.maximum(peak, TARGET) + 1e-3).all()


@given(LEVELS)
def test_speech_gains_are_those_of_speech_alone(values: list[int]) -> None:
    # Given speech in the first half, and any levels, loud ones among them, in the second
    levels = np.asarray(values, np.uint8)
    speech = np.arange(len(levels)) < len(levels) // 2
    # When what is no speech changes
    other = np.where(speech, levels, 90).astype(np.uint8)
    # Then the gains do not
    np.testing.assert_array_equal(speech_gains(levels, speech), speech_gains(other, speech))


def test_each_piece_of_speech_is_brought_to_one_loudness() -> None:
    # Given speech at three levels, seconds of silence between them
    levels = runs((60, 100), (0, 100), (40, 100), (0, 100), (10, 100))
    # When gains are made
    gains = speech_gains(levels, levels > 0)
    # Then what is near the target stays as it is, the rest is raised to it, and what is far below as far as is sensible
    assert (gains[50], gains[250], gains[450]) == (0.0, TARGET - 40, 45.0)
    # What lies between is left alone, but for the edges.
    assert gains[110:190].max() == gains[310:390].max() == 0.0


def test_the_first_decibels_below_the_target_are_left_alone() -> None:
    for level, expected in ((TARGET, 0), (TARGET - 9, 0), (TARGET - 10, 10), (90, 0)):
        assert speech_gains(runs((level, 80)), np.ones(80, np.bool_))[40] == expected


def test_a_loud_sound_within_a_second_keeps_what_is_beside_it_from_being_raised() -> None:
    # Given a loud word, and quiet ones behind it
    gains = speech_gains(runs((68, 10), (30, 90)), np.ones(100, np.bool_))
    # When gains are made, then the voice falls for a second as it does, and is raised from there on, gradually
    assert gains[: 10 + 31 - 5].max() == 0.0
    assert gains[10 + 31 + 6 :].min() == TARGET - 30
    assert np.diff(gains).min() >= 0
    assert np.abs(np.diff(gains)).max() <= 45 / 11 + 1e-3


def test_the_detector_is_shown_quiet_speech_above_low_noise() -> None:
    # Given speech at -60 dB above noise at -75 dB
    gains = detection_lift(runs((15, 100), (30, 40), (15, 100)))
    # Then it is raised, but the noise to no more than -40 dB
    assert gains[120] == pytest.approx(50 - 15)
    assert gains.max() + 15 <= 50 + 1e-3


@pytest.mark.parametrize("noise", [50, 60, 90])
def test_loud_noise_is_raised_by_nothing(noise: int) -> None:
    assert detection_lift(runs((noise, 1_000))).max() == 0.0


def test_loud_speech_is_shown_as_it_is() -> None:
    assert detection_lift(runs((20, 20), (65, 30), (20, 20), (60, 30))).max() == 0.0


def test_nothing_has_no_gains() -> None:
    nothing = np.zeros(0, np.uint8)
    assert len(detection_lift(nothing)) == len(speech_gains(nothing, nothing > 0)) == 0
    assert speech_gains(runs((30, 50)), np.zeros(50, np.bool_)).tolist() == [0.0] * 50
