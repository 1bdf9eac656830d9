# SPDX-License-Identifier: Apache-2.0
"""Words from alignments, segments from words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.inference.whisper.segments import MAX_CHARACTERS, MAX_SECONDS, cut_segments
from stages.inference.whisper.words import align_words, trim_to_sound
from stages.values import RawWord


def word(text: str, start: float, end: float) -> RawWord:
    return RawWord(text, start, end, 0.5)


def test_words_begin_where_the_path_first_reaches_them() -> None:
    # Given two words of one and two tokens, and a path that lingers
    path = [(0, 0), (0, 1), (0, 5), (1, 6), (1, 9), (2, 10), (2, 14), (3, 15), (3, 20)]
    words = align_words([(" hello", 1), (" world", 2)], path, [0.9, 0.5, 0.7], 1.0)
    assert words == [RawWord(" hello", 0.0, 0.12, 0.9), RawWord(" world", 0.12, 0.3, 0.6)]


def test_words_without_an_alignment_stay_inside_the_audio() -> None:
    words = align_words([(" a", 1), (" b", 1)], [], [0.9, 0.5], 0.01)
    assert [item.word for item in words] == [" a", " b"]
    assert all(0.0 <= item.start <= item.end <= 0.01 for item in words)


def test_marks_belong_to_their_words() -> None:
    split = [(" “", 1), ("Hello", 1), (",", 1), (" world", 1), ("!", 1), ("”", 1)]
    path = [(index, 10 * index) for index in range(7)]
    words = align_words(split, path, [1.0] * 6, 5.0)
    assert [item.word for item in words] == [" “Hello,", " world!”"]
    assert words[0].end == pytest.approx(0.4)  # a mark takes no time of its own


def test_words_lose_the_pauses_that_the_alignment_gave_them() -> None:
    # Given sound at 0.5-1.0 s and 2.0-2.6 s, with a plosive's closure inside, over faint noise
    level = np.random.default_rng(0).normal(-70, 2, 300).astype(np.float32)
    level[50:100] = -20
    level[200:260] = -25
    level[225:232] = -65
    words = trim_to_sound([word(" a", 0.0, 1.0), word(" b", 1.0, 2.6), word(" c", 2.6, 2.9)], level)
    assert [(round(item.start, 1), round(item.end, 1)) for item in words] == [(0.5, 1.0), (2.0, 2.6), (2.6, 2.9)]


def test_words_in_even_noise_keep_their_times() -> None:
    level = np.random.default_rng(0).normal(-30, 1, 300).astype(np.float32)
    words = [word(" a", 0.0, 1.5), word(" b", 1.5, 3.0)]
    trimmed = trim_to_sound(words, level)
    assert max(abs(new.start - old.start) for new, old in zip(trimmed, words, strict=True)) < 0.3


def texts(words: list[RawWord]) -> list[str]:
    return [segment.text for segment in cut_segments(words)]


def test_segments_end_with_sentences_and_at_pauses() -> None:
    words = [word(" Hello", 0, 0.3), word(" there.", 0.3, 0.6), word(" Next", 0.7, 1.0), word(" later", 2.0, 2.3)]
    assert texts(words) == [" Hello there.", " Next", " later"]


@pytest.mark.parametrize(
    ("first", "second", "cut"),
    [
        (" Mr.", " Smith", False),
        (" J.", " Smith", False),
        (" 3.", "5", False),
        (" well...", " maybe", False),
        (" done.”", " Next", True),
        ("です。", "次", True),
        (" Why?", " because", True),
    ],
)
def test_not_every_full_stop_ends_a_sentence(first: str, second: str, cut: bool) -> None:
    assert (len(texts([word(first, 0, 0.3), word(second, 0.3, 0.6)])) == 2) is cut


def test_long_segments_are_cut_where_clauses_end() -> None:
    words = [word(f" w{index}{',' if index == 27 else ''}", index * 0.3, index * 0.3 + 0.3) for index in range(50)]
    assert texts(words)[0].endswith(" w27,")


@given(st.lists(st.tuples(st.text("ab ., ", min_size=1, max_size=12), st.floats(0, 1), st.floats(0, 1)), max_size=120))
def test_segments_keep_every_word_in_order(items: list[tuple[str, float, float]]) -> None:
    time, words = 0.0, []
    for text, length, gap in items:
        words.append(word(text, time, time + length))
        time += length + gap
    segments = cut_segments(words)
    assert [item for segment in segments for item in segment.words or ()] == words
    for segment in segments:
        assert segment.words
        assert len(segment.words) == 1 or (
            segment.end - segment.start <= MAX_SECONDS and len(segment.text) <= MAX_CHARACTERS
        )
