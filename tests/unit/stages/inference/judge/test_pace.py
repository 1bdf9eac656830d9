# SPDX-License-Identifier: Apache-2.0
"""Words that nobody had the time to say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.inference.judge.pace import left_out, unspeakable
from stages.values import RawWord


def words(*seconds: float) -> list[RawWord]:
    """Words of these lengths, one behind another."""
    made, at = [], 0.0
    for length in seconds:
        made.append(RawWord(" a", at, at + length, 0.9))
        at += length
    return made


@pytest.mark.parametrize(
    ("lengths", "found"),
    [
        ((0.3, 0.2, 0.25, 0.3, 0.2), set()),
        ((0.1,) * 12, set()),  # ten words a second: some people do
        ((0.3, 0.0, 0.0, 0.0, 0.3), set()),  # three are a matter of the alignment
        ((0.3, 0.3, 0.0, 0.0, 0.0, 0.0), {2, 3, 4, 5}),
        ((0.3, 0.04, 0.06, 0.08, 0.04, 0.3), {1, 2, 3, 4}),
        ((0.3, 0.08, 0.06, 0.08, 0.06, 0.3), set()),
        ((0.0,) * 9, set(range(9))),
        ((0.0, 0.0, 0.0, 0.0, 0.4, 0.4, 0.02, 0.02, 0.02, 0.02), {0, 1, 2, 3, 6, 7, 8, 9}),
        ((0.0, 0.0, 0.0), set()),
        ((), set()),
    ],
)
def test_words_too_fast_to_be_spoken(lengths: tuple[float, ...], found: set[int]) -> None:
    assert unspeakable(words(*lengths)) == found


@given(st.lists(st.floats(0, 1), max_size=40))
def test_only_rows_that_are_too_fast_as_a_whole_are_found(lengths: list[float]) -> None:
    found = unspeakable(words(*lengths))

    assert found <= set(range(len(lengths)))
    assert all(
        any(
            sum(lengths[first : first + 4]) <= 0.24 + 1e-6
            for first in range(max(place - 3, 0), place + 1)
            if first + 4 <= len(lengths)
        )
        for place in found
    )


def test_a_few_words_without_time_are_left_out() -> None:
    # Given a sentence, and what a model wrote behind its end
    said = words(*(0.4,) * 20, *(0.0,) * 5)
    assert left_out(said, too_fast=False) == {20, 21, 22, 23, 24}


def test_where_most_words_lack_time_the_alignment_is_not_believed_unless_the_text_is_too_fast_too() -> None:
    # Given a model whose alignment is of no use
    said = words(*(3.0,) * 5, *(0.0,) * 15)
    assert left_out(said, too_fast=False) == frozenset()
    assert left_out(said, too_fast=True) == set(range(5, 20))
