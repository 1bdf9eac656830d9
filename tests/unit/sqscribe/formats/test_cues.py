# SPDX-License-Identifier: Apache-2.0
"""Subtitle cues keep their limits whatever is said."""

from __future__ import annotations

import random
import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.formats.cues import Cue, cues
from sqscribe.transcript import Segment, Transcript, Word


def spoken(*sentences: str, start: float = 0.0, pace: float = 0.3, gap: float = 0.0) -> Transcript:
    """Sentences of words that take `pace` seconds each; `gap` seconds between sentences."""
    segments = []
    for number, sentence in enumerate(sentences):
        words = []
        for word in sentence.split():
            words.append(Word(f" {word}", start, start + pace, 1.0))
            start += pace
        segments.append(
            Segment(number, words[0].start, words[-1].end, f" {sentence}", -0.1, 1, 0, 0, words=tuple(words))
        )
        start += gap
    return Transcript(" ".join(sentences), "en", 1.0, start, tuple(segments))


def test_a_sentence_that_fits_is_one_cue_on_one_line() -> None:
    assert cues(spoken("This fits on one line.")) == [Cue(0.0, 1.5, ("This fits on one line.",))]


def test_two_lines_are_even() -> None:
    [cue] = cues(spoken("We shall fight on the beaches, we shall fight on land."))

    assert cue.lines == ("We shall fight on the beaches,", "we shall fight on land.")


def test_sentences_do_not_share_a_cue() -> None:
    assert [cue.lines for cue in cues(spoken("One is here now.", "Two is there now."))] == [
        ("One is here now.",),
        ("Two is there now.",),
    ]


def test_a_long_sentence_is_divided_evenly_at_its_comma() -> None:
    text = "When the first transcript stands in the bucket for good, nobody who comes later may write another one there"
    divided = cues(spoken(text))

    assert [" ".join(cue.lines) for cue in divided] == [
        "When the first transcript stands in the bucket for good,",
        "nobody who comes later may write another one there",
    ]


def test_a_pause_of_more_than_three_seconds_breaks_a_cue() -> None:
    words = (Word(" before", 0, 1, 1), Word(" after", 4.1, 5, 1))
    apart = Transcript("", "en", 1, 9, (Segment(0, 0, 5, " before after", 0, 1, 0, 0, words),))
    near = Transcript(
        "", "en", 1, 9, (Segment(0, 0, 5, " before after", 0, 1, 0, 0, (words[0], Word(" after", 4, 5, 1))),)
    )

    assert [cue.lines for cue in cues(apart)] == [("before",), ("after",)]
    assert [cue.lines for cue in cues(near)] == [("before after",)]


def test_a_short_cue_is_shown_for_a_second_where_there_is_room() -> None:
    assert cues(spoken("Yes.", "It is indeed so.", gap=2.0))[0] == Cue(0.0, 1.0, ("Yes.",))


def test_cues_too_short_to_be_read_are_joined() -> None:
    assert [cue.lines for cue in cues(spoken("Yes.", "No.", "Perhaps we should see."))] == [
        ("Yes. No. Perhaps we should see.",)
    ]


def test_a_word_that_drags_on_is_shown_for_seven_seconds() -> None:
    assert cues(spoken("Aaaaah", pace=20.0)) == [Cue(0.0, 7.0, ("Aaaaah",))]


def test_parts_of_a_word_stay_together() -> None:
    words = tuple(
        Word(text, index, index + 1, 1) for index, text in enumerate([" do", "n't", " mother", "-in", "-law"])
    )
    [cue] = cues(Transcript("", "en", 1, 9, (Segment(0, 0, 5, "", 0, 1, 0, 0, words),)))

    assert cue.lines == ("don't mother-in-law",)


def test_a_script_without_blanks_may_break_at_any_word() -> None:
    words = tuple(Word(letter, 0.05 * index, 0.05 * index + 0.05, 1) for index, letter in enumerate("你好世界" * 15))
    [cue] = cues(Transcript("", "zh", 1, 9, (Segment(0, 0, 3, "", 0, 1, 0, 0, words),)))

    assert [len(line) for line in cue.lines] == [30, 30]


def test_a_word_wider_than_a_line_is_cut() -> None:
    [cue] = cues(spoken("x" * 60, pace=2.0))

    assert cue.lines == ("x" * 42, "x" * 18)


def test_without_words_the_text_is_spread_over_its_segment() -> None:
    text = " ".join(["twelve chars"] * 14)
    divided = cues(Transcript("", "en", 1, 12, (Segment(0, 2.0, 12.0, f" {text}", 0, 1, 0, 0),)))

    assert " ".join(line for cue in divided for line in cue.lines) == text
    assert (divided[0].start, divided[-1].end) == pytest.approx((2.0, 12.0))
    assert all(abs(before.end - after.start) < 1e-6 for before, after in pairwise(divided))


def test_nothing_said_gives_no_cue() -> None:
    blank = Segment(0, 0, 1, "  ", 0, 1, 0, 0, (Word(" ", 0, 1, 1),))

    assert cues(Transcript("", "en", 1, 1, (blank,))) == []


# -- properties ----------------------------------------------------------------------------------------------------

LETTERS = string.ascii_letters + "äß.,?! 你"


def talk_of(seed: int) -> Transcript:
    """Any words in order of time, with and without blanks, pauses, overlong words and word times.

    Drawn from one seed, because drawing each letter by itself takes hypothesis a second a talk.
    """
    draw = random.Random(seed)
    clock = 0.0
    segments = []
    for number in range(draw.randint(0, 5)):
        words = []
        longest = draw.choice([3, 12, 50])
        for _ in range(draw.randint(1, 40)):
            clock += draw.choice([0.0, 0.0, 0.0, 0.2, 1.5, 3.5])
            length = draw.choice([0.0, 0.1, 0.4, 0.4, 9.0])
            text = "".join(draw.choices(LETTERS, k=draw.randint(1, longest)))
            words.append(Word(draw.choice([" ", " ", ""]) + text, clock, clock + length, 1.0))
            clock += length
        text = "".join(word.word for word in words)
        timed = tuple(words) if draw.random() < 0.7 else None
        segments.append(Segment(number, words[0].start, words[-1].end, text, -0.1, 1.0, 0.0, 0.0, timed))
    return Transcript("", "en", 1.0, clock, tuple(segments))


talks = st.integers(0, 2**32).map(talk_of)


@given(talks)
def test_cues_keep_their_limits(talk: Transcript) -> None:
    made = cues(talk)

    for cue in made:
        assert 1 <= len(cue.lines) <= 2
        assert all(0 < len(line) <= 42 for line in cue.lines)
        assert 0 <= cue.end - cue.start <= 7.0 + 1e-9
    for before, after in pairwise(made):
        assert before.start <= after.start + 1e-9
        assert before.end <= after.start + 1e-9 or before.start == after.start
        # Shorter than a second only where the next one leaves no room.
        assert before.end - before.start >= 1.0 - 1e-9 or after.start in (before.start, before.end)


@given(talks)
def test_no_letter_is_lost_or_moved(talk: Transcript) -> None:
    said = "".join(
        "".join(word.word for word in segment.words) if segment.words else segment.text for segment in talk.segments
    )
    shown = "".join(line for cue in cues(talk) for line in cue.lines)

    assert "".join(shown.split()) == "".join(said.split())
