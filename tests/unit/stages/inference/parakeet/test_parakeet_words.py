# SPDX-License-Identifier: Apache-2.0
"""From a transducer's tokens to words with times."""

from __future__ import annotations

import math

import pytest

from stages.inference.parakeet.transducer import Emitted
from stages.inference.parakeet.words import words_of
from stages.values import RawWord

PIECES = {0: "\u2581hel", 1: "lo", 2: "\u2581world", 3: ".", 4: "", 5: "\u2581"}


def words(*emitted: tuple[int, int, int], seconds: float = 10.0) -> list[RawWord]:
    return list(words_of([Emitted(*each, -0.5) for each in emitted], PIECES.__getitem__, 0.08, seconds))


def test_a_word_lasts_from_its_first_token_to_the_end_of_its_last() -> None:
    found = words((0, 0, 2), (1, 2, 1), (2, 10, 4), (3, 14, 0))

    assert [word.word for word in found] == [" hello", " world."]
    assert [(round(word.start, 3), round(word.end, 3)) for word in found] == [(0.0, 0.24), (0.8, 1.2)]
    assert [word.probability for word in found] == pytest.approx([math.exp(-0.5)] * 2)


def test_a_text_may_begin_within_a_word_and_marks_are_none_of_it() -> None:
    assert [word.word for word in words((4, 0, 1), (1, 1, 1), (4, 2, 1), (2, 3, 1), (5, 9, 1))] == [" lo", " world"]
    assert words((4, 0, 1)) == words() == []


def test_no_word_ends_behind_its_window() -> None:
    (word,) = words((2, 12, 4), seconds=1.0)

    assert (word.start, word.end) == (0.96, 1.0)
