# SPDX-License-Identifier: Apache-2.0
"""Real recordings, no options."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sqscribe_bench.real.coverage import misshapen
from sqscribe_bench.real.heard import Heard
from sqscribe_bench.real.recordings import Recording
from sqscribe_bench.real.score import score, summed

pytestmark = [pytest.mark.real, pytest.mark.process]

Hear = Callable[..., list[Heard]]


@pytest.mark.slow
def test_english_sentences_are_heard(tiny_en: Hear, english: tuple[Recording, ...]) -> None:
    # Given sentences of eight people, one a file
    # When tiny.en hears them, without options
    transcripts = tiny_en(english)

    # Then few words are wrong, and all that is said is under words
    found = summed(score(recording, heard, {}) for recording, heard in zip(english, transcripts, strict=True))
    assert found.failed == 0
    assert found.errors / found.words <= 0.08
    assert found.longest_unheard <= 2.0


@pytest.mark.slow
def test_every_word_has_a_length_and_its_turn(tiny_en: Hear, english: tuple[Recording, ...]) -> None:
    # Given the same sentences
    # When tiny.en hears them
    transcripts = tiny_en(english)

    # Then no segment and no word is empty, out of order or outside the file
    assert sum(misshapen(heard, each.seconds) for each, heard in zip(english, transcripts, strict=True)) == 0


def test_the_kennedy_sentence_is_heard_word_for_word(tiny_en: Hear, kennedy: Recording) -> None:
    # Given the best known sentence of speech recognition
    # When tiny.en hears it
    (heard,) = tiny_en([kennedy])

    # Then every word is there, at a time within the recording
    found = score(kennedy, heard, {})
    assert found.errors == 0
    assert found.misshapen == 0
