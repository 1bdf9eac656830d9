# SPDX-License-Identifier: Apache-2.0
"""Where a window is cut in two, and what each part has of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.inference.judge.coverage import Hole
from stages.inference.whisper.audio import _raised
from stages.inference.whisper.split import cut_window, edge_of_hole, part_of, quietest_point
from stages.values import GAIN_STEP, SAMPLE_RATE, Piece, Window

LEVEL = np.full(1_000, -20.0, dtype=np.float32)


def spoken(*spans: tuple[float, float], seconds: float = 10.0) -> Window:
    """A window of one piece with speech in these spans, in seconds."""
    samples = tuple((round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) for start, end in spans)
    length = round(seconds * SAMPLE_RATE)
    return Window(
        0, (Piece(0, 0, length),), speech=sum(end - start for start, end in samples), speech_end=length, spans=samples
    )


def test_a_window_is_cut_inside_its_pieces() -> None:
    window = Window(
        7, (Piece(0, 1_000, 100), Piece(100, 5_000, 300)), speech=200, speech_end=350, overlap_before=10,
        overlap_after=20,
    )  # fmt: skip
    left, right = cut_window(window, 150)
    assert left == Window(7, (Piece(0, 1_000, 100), Piece(100, 5_000, 50)), 75, 150, 10, 0)
    assert right == Window(7, (Piece(0, 5_050, 250),), 125, 200, 0, 20)
    assert left.samples + right.samples == window.samples


def test_each_part_has_the_speech_that_lies_in_it_on_its_own_clock() -> None:
    window = replace(spoken((1, 3), (4, 8), (9, 9.5)), overlap_before=80, overlap_after=90)

    left, right = cut_window(window, 5 * SAMPLE_RATE)
    inner = part_of(window, 2 * SAMPLE_RATE, 9 * SAMPLE_RATE)

    assert left.spans == spoken((1, 3), (4, 5)).spans
    assert right.spans == spoken((0, 3), (4, 4.5)).spans
    assert inner.spans == spoken((0, 1), (2, 6)).spans
    assert (inner.overlap_before, inner.overlap_after) == (0, 0)
    assert part_of(window, 0, window.samples) == window


def test_each_part_is_raised_as_the_window_is() -> None:
    window = replace(spoken((0, 10)), gains=tuple(range(40)))

    left, right = cut_window(window, 5 * GAIN_STEP)
    middle = part_of(window, GAIN_STEP // 2, 3 * GAIN_STEP)

    assert left.gains == (0, 1, 2, 3, 4)
    assert right.gains == tuple(range(5, 40))
    assert middle.gains == (0, 2, 2)  # halves of a decibel go to the even one
    assert cut_window(replace(window, gains=(0,) * 20 + (9,) * 20), 10 * GAIN_STEP)[0].gains == ()


@given(st.lists(st.integers(0, 45), min_size=4, max_size=20), st.integers(1, 4 * GAIN_STEP - 1))
def test_a_cut_changes_the_loudness_nowhere(gains: list[int], cut: int) -> None:
    # Given a window whose gains change as slowly as the cutter lets them
    smooth = tuple(np.rint(np.convolve(gains, np.full(9, 1 / 9), mode="same")).astype(int).tolist())
    samples = len(gains) * GAIN_STEP
    window = Window(0, (Piece(0, 0, samples),), samples, samples, gains=smooth)
    ones = np.full(samples, 1e-3, np.float32)

    # When it is cut
    left, right = cut_window(window, cut)

    # Then both parts are as loud as they were, within two decibels, but beyond the middle of the last step
    whole = 20 * np.log10(_raised(ones, smooth))
    parts = np.concatenate([20 * np.log10(_raised(ones[: part.samples], part.gains)) for part in (left, right)])
    steps = np.abs(np.diff(smooth)).max() if len(smooth) > 1 else 0
    assert np.abs(whole - parts).max() <= max(2.0, steps)


def test_the_cut_lies_in_the_quietest_pause_near_the_middle() -> None:
    level = np.full(1_000, -20.0, dtype=np.float32)
    level[100:200] = -100  # quieter, but not in the middle half
    level[400:440] = -80
    level[700:740] = -80
    level[555:560] = -100  # a plosive, not a pause
    cut = quietest_point(level, 160_000)
    assert 400 <= cut / 160 <= 440


def test_without_a_pause_the_cut_is_in_the_middle() -> None:
    assert quietest_point(np.full(1_000, -20.0, dtype=np.float32), 160_000) == pytest.approx(80_000, abs=200)
    assert quietest_point(np.zeros(0, dtype=np.float32), 100) == 50


def test_a_sentence_that_was_left_out_is_parted_from_the_word_before_it() -> None:
    # Given a word at 2 s, a sentence from 3.2 to 6 s that was left out, and the next word at 7 s
    window = spoken((0, 3), (3.2, 6), (6.5, 10))
    # When the window is cut at the hole, then in the first pause behind the word
    assert edge_of_hole(LEVEL, window, [Hole(2.0, 7.0, 3.0)]) == round(3.1 * SAMPLE_RATE)


def test_a_sentence_that_was_left_out_at_the_start_is_parted_from_the_next_word() -> None:
    window = spoken((0, 3), (3.2, 6), (6.5, 10))
    assert edge_of_hole(LEVEL, window, [Hole(0.0, 7.0, 5.0)]) == round(6.25 * SAMPLE_RATE)


def test_the_largest_hole_decides() -> None:
    window = spoken((0, 3), (3.2, 6), (6.5, 10))
    holes = [Hole(2.0, 4.0, 1.5), Hole(5.5, 9.0, 2.5)]
    assert edge_of_hole(LEVEL, window, holes) == round(6.25 * SAMPLE_RATE)


def test_a_hole_without_a_pause_is_cut_where_it_is_most_quiet() -> None:
    # Given fluent speech, a gap in it that is no pause, and one frame that is quieter outside of the hole
    level = LEVEL.copy()
    level[100:160], level[600:640] = -90, -60
    window = spoken((0, 6.05), (6.1, 10))
    # When the hole is from 4 to 9 s
    cut = edge_of_hole(level, window, [Hole(4.0, 9.0, 4.0)])
    # Then the cut lies in the quiet place inside of it
    assert 600 <= cut / 160 <= 640


@given(
    st.lists(st.tuples(st.floats(0, 8), st.floats(0.05, 3)), max_size=5),
    st.floats(0, 8),
    st.floats(0, 8),
    st.floats(2, 8),
)
def test_a_cut_at_a_hole_leaves_something_on_both_sides(
    runs: list[tuple[float, float]], start: float, end: float, seconds: float
) -> None:
    # Given any window that may be split, and any hole in it
    spans, at = [], 0.0
    for gap, length in runs:
        if at + gap + length > seconds:
            break
        spans.append((at + gap, at + gap + length))
        at += gap + length
    window = spoken(*spans, seconds=seconds)
    hole = Hole(min(start, end, seconds), min(max(start, end), seconds), 3.0)
    # When it is cut there
    cut = edge_of_hole(LEVEL[: round(seconds * 100)], window, [hole])
    # Then neither part is a crumb
    assert SAMPLE_RATE // 2 - 160 <= cut <= window.samples - SAMPLE_RATE // 2 + 160
