# SPDX-License-Identifier: Apache-2.0
"""What several voices say becomes one transcript in the order of time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqscribe.transcript import Transcript
from stages.assemble import assemble
from stages.values import SAMPLE_RATE, Audio, Voice, Window, Windows
from worker.testing.assembling import assembled, plain, result, timed, window, words

SECONDS = 30


def call(*windows: Window, start: float = 0.0, tracks: bool = False) -> Windows:
    """Two voices of 30 s behind one another; windows of the second are given 30 s later than it speaks."""
    length = SECONDS * SAMPLE_RATE
    voices = tuple(
        Voice(number * length, length, number if tracks else None, None if tracks else number) for number in (0, 1)
    )
    return Windows(Audio(Path("audio.pcm"), length, start, "0" * 64, apart=voices), windows, 60.0, "cut")


def said(transcript: Transcript) -> list[tuple[int, int | None, str, float]]:
    return [(each.id, each.channel, each.text.strip(), each.start) for each in transcript.segments]


def test_segments_come_in_the_order_of_time_and_say_whose_they_are() -> None:
    # Given an agent who speaks at 2 s and 8 s of the part that is asked for, and a customer at 2.5 s and 12 s
    windows = call(window(0, (2, 6), (8, 10)), window(1, (32.5, 36), (42, 44)), start=100.0)
    # When their words are put together
    transcript = assembled(
        windows,
        result(0, words(("good", 0.0, 0.5), ("morning", 0.5, 2.0)), words(("how", 4.0, 4.5), ("so", 4.5, 5.0))),
        result(1, words(("hello", 0.0, 1.0)), words(("fine", 3.5, 4.0))),
    )
    # Then they alternate, though the two overlap, on the clock of the file
    assert said(transcript) == [
        (0, 0, "good morning", 102.0),
        (1, 1, "hello", 102.5),
        (2, 0, "how so", 108.0),
        (3, 1, "fine", 112.0),
    ]
    assert transcript.text == "good morning hello how so fine"
    assert transcript.duration == SECONDS
    assert timed(transcript)[2] == ("hello", 102.5, 103.5)


def test_tracks_are_told_apart_likewise() -> None:
    transcript = assembled(
        call(window(0, (5, 9)), window(1, (31, 35)), tracks=True),
        result(0, plain("second", 0, 2)),
        result(1, plain("first", 0, 2)),
    )
    assert [(each.track, each.channel, each.text) for each in transcript.segments] == [
        (1, None, " first"),
        (0, None, " second"),
    ]


def test_no_voice_moves_or_joins_the_words_of_another() -> None:
    # Given windows that overlap within a voice, and the last window of one voice beside the first of the other
    windows = call(
        *(window(0, (0, 15), after=1), window(1, (14, 30), before=1)),
        *(window(2, (30, 45), after=1), window(3, (44, 60), before=1)),
    )
    # When both say the same at the same time
    first = result(0, words(("one", 1, 2), ("two", 14.2, 14.7)))
    second = result(1, words(("two", 0.2, 0.7), ("three", 15.2, 16.0)))
    transcript = assembled(windows, first, second, replace(first, index=2), replace(second, index=3))
    # Then each keeps its words and times, with what its own two windows share once
    spoken = [("one", 1.0, 2.0), ("two", 14.2, 14.7), ("three", 29.2, 30.0)]
    for channel in (0, 1):
        own = [each for each in transcript.segments if each.channel == channel]
        assert [(word.word.strip(), word.start, word.end) for each in own for word in each.words or ()] == spoken
    assert [each.id for each in transcript.segments] == list(range(4))


def test_a_hole_names_its_voice() -> None:
    windows = call(window(0, (0, 4)), window(1, (32, 36)))
    hole = replace(result(1), missing=((1.0, 3.0),))
    (warning,) = assembled(windows, result(0, plain("here", 0, 2)), hole).warnings
    assert warning.message == "speech was found that no words were found for: 3.0-5.0 s (channel 1)"


def test_under_multi_each_voice_may_have_a_language_of_its_own() -> None:
    windows = call(window(0, (0, 4)), window(1, (31, 39)))
    results = {
        0: result(0, plain("hello", 0, 2), language="en", language_probability=0.9),
        1: result(1, plain("bonjour", 0, 2), language="fr", language_probability=0.9),
    }
    transcript = assemble(windows, results, None, None, multi=True)
    assert [(each.channel, each.language) for each in transcript.segments] == [(0, "en"), (1, "fr")]
    assert transcript.language == "fr"
