# SPDX-License-Identifier: Apache-2.0
"""How much of a window's speech its words account for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.inference.judge.coverage import Hole, leaves_speech_out, missing_speech
from stages.values import SAMPLE_RATE, Piece, RawSegment, RawWord, Window

Span = tuple[float, float]


def spoken(*spans: Span, seconds: float = 30.0) -> Window:
    samples = tuple((round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) for start, end in spans)
    length = round(seconds * SAMPLE_RATE)
    return Window(0, (Piece(0, 0, length),), speech=0, speech_end=0, spans=samples)


def words(*starts: float, text: str = " word") -> list[RawWord]:
    """Words from each of these times to the next."""
    return [RawWord(text, start, end, 0.9) for start, end in zip(starts, (*starts[1:], 30.0), strict=False)]


def about(start: float, end: float, seconds: float) -> Hole:
    """A hole that is as good as this one."""
    return Hole(*(pytest.approx(each) for each in (start, end, seconds)))  # type: ignore[arg-type]


def every(seconds: float, start: float, end: float) -> list[float]:
    return [start + at * seconds for at in range(round((end - start) / seconds))]


def test_words_that_follow_each_other_leave_nothing_out() -> None:
    assert missing_speech(words(*every(0.4, 0, 30)), spoken((0, 30))) == ()


def test_slow_words_leave_nothing_out() -> None:
    # A word has 1.2 s, a long one more, and hesitation may come on top.
    assert missing_speech(words(*every(2.0, 0, 30)), spoken((0, 30))) == ()
    assert missing_speech(words(*every(3.0, 0, 30), text=" Donaudampfschiff"), spoken((0, 30))) == ()


def test_a_word_that_lasts_for_a_sentence_hides_one() -> None:
    # Given words without a gap, one of which has 8.5 s
    said = words(*every(0.5, 0, 10), 10.0, *every(0.5, 18.5, 30))
    # When they are held against speech all through, then all but the word's own time is missing there
    assert missing_speech(said, spoken((0, 30))) == (about(10.0, 18.5, 8.5 - 1.2),)


def test_speech_before_the_first_word_counts_to_it() -> None:
    assert missing_speech(words(*every(0.5, 6, 30)), spoken((0, 30))) == (about(0.0, 6.5, 6.5 - 1.2),)


def test_speech_behind_the_last_word_counts_to_it() -> None:
    assert missing_speech(words(*every(0.5, 0, 20)), spoken((0, 30))) == (about(19.5, 30.0, 10.5 - 1.2),)


def test_pauses_are_not_missing() -> None:
    # Given two sentences, a long silence between them, the last word before which the alignment stretches over it
    said = words(*every(0.5, 0, 5), *every(0.5, 20, 25))
    # When only the sentences are speech, then nothing is missing
    assert missing_speech(said, spoken((0, 5), (20, 25))) == ()


def test_text_of_nothing_leaves_all_speech_out() -> None:
    assert missing_speech((), spoken((1, 3), (5, 9))) == (Hole(0.0, 30.0, 6.0),)
    assert not leaves_speech_out(missing_speech((), spoken((1, 2.9)))), "as much as that is a cough"
    assert missing_speech((), spoken((1, 1.9))) == ()
    assert missing_speech((), spoken()) == ()


@pytest.mark.parametrize(("seconds", "remarkable"), [(3.1, False), (3.3, True)])
def test_one_hole_counts_from_two_seconds_on(seconds: float, remarkable: bool) -> None:
    said = words(0.0, seconds, *every(0.5, seconds + 0.5, 30))
    assert leaves_speech_out(missing_speech(said, spoken((0, 30)))) is remarkable


@pytest.mark.parametrize(("count", "remarkable"), [(2, False), (3, True)])
def test_several_holes_count_together_from_three_seconds_on(count: int, remarkable: bool) -> None:
    # Given words that leave 1.4 s out each
    said = words(*every(2.6, 0, 2.6 * count), *every(0.5, 2.6 * count, 30))
    found = missing_speech(said, spoken((0, 30)))
    assert len(found) == count
    assert leaves_speech_out(found) is remarkable


def test_segments_are_held_against_the_length_of_their_text() -> None:
    # Given a model that cannot align: half a minute of text, and two words for half a minute
    long = [RawSegment(0.0, 30.0, " " + "they said so and " * 12, None)]
    short = [RawSegment(0.0, 30.0, " they said", None)]
    # When they are held against speech all through, then the second one lacks nearly all of it
    assert missing_speech(long, spoken((0, 30))) == ()
    assert missing_speech(short, spoken((0, 30))) == (about(0.0, 30.0, 30 - 1.2 - 0.14 * 9),)


def test_words_outside_of_the_window_are_taken_to_its_ends() -> None:
    found = missing_speech(words(-5.0, 0.5, 40.0), spoken((0, 10), seconds=10.0))
    assert found == (about(0.5, 10.0, 9.5 - 1.2),)


@given(
    st.lists(st.floats(0, 30), max_size=60).map(sorted),
    st.lists(st.tuples(st.floats(0, 4), st.floats(0.1, 6)), max_size=8),
)
def test_holes_are_speech_in_order_and_never_more_than_there_is(
    starts: list[float], runs: list[tuple[float, float]]
) -> None:
    spans: list[Span] = []
    at = 0.0
    for gap, length in runs:
        spans.append((min(at + gap, 30.0), min(at + gap + length, 30.0)))
        at += gap + length
    window = spoken(*(span for span in spans if span[0] < span[1]))

    holes = missing_speech(words(*starts), window)

    total = sum(end - start for start, end in window.spans) / SAMPLE_RATE
    assert sum(hole.seconds for hole in holes) <= total + 1e-6
    for hole in holes:
        assert 0.0 <= hole.start < hole.end <= 30.0
        assert hole.seconds <= hole.end - hole.start + 1e-6
    for before, after in pairwise(holes):
        assert before.end <= after.start
    # A word more never makes more of it missing.
    assert sum(hole.seconds for hole in missing_speech(words(*sorted([*starts, 15.0])), window)) <= max(
        sum(hole.seconds for hole in holes), 3.0
    )
