# SPDX-License-Identifier: Apache-2.0
"""Which of two texts of a window is better, and two parts as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stages.inference.judge.coverage import Hole
from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.fallback import Take
from stages.inference.whisper.transcribed import Transcribed, better, better_unprompted, joined, transcribed
from stages.values import RawSegment, RawWord
from worker.testing.transcribed import heard


def missing(seconds: float, **figures: object) -> Transcribed:
    return heard(holes=(Hole(0.0, seconds, seconds),), **figures)


def test_the_more_complete_text_wins_before_the_likelier_one() -> None:
    whole = heard(avg_logprob=-0.1, truncated=True)
    assert better(whole, halves := heard(avg_logprob=-0.9)) is halves
    assert better(missing(9.0), halves) is halves
    assert better(whole := missing(4.0), missing(9.0)) is whole
    # As complete: the better one, and the whole when there is nothing between them.
    assert better(whole := missing(4.0), missing(4.5, avg_logprob=-0.3)) is whole
    assert better(missing(4.0, failed=True), halves := missing(4.5, avg_logprob=-0.9)) is halves
    assert better(whole := missing(4.0), missing(4.0)) is whole


def test_a_text_that_is_believed_is_better_than_one_that_is_not() -> None:
    assert better(heard(dropped="repetition"), parts := heard(failed=True, avg_logprob=-2.0)) is parts
    assert better(whole := heard(failed=True, avg_logprob=-2.0), heard(dropped="silence")) is whole


def test_a_prompted_text_stands_unless_it_leaves_out_more() -> None:
    prompted, unprompted = missing(4.0), heard()
    assert better_unprompted(prompted, unprompted) is unprompted
    assert better_unprompted(unprompted, prompted) is unprompted
    assert better_unprompted(prompted, missing(3.5)) is prompted, "no more than a border that is a little off"


def test_a_prompted_text_stands_where_there_is_none_without_it() -> None:
    assert better_unprompted(prompted := missing(9.0), heard(dropped="silence")) is prompted
    assert better_unprompted(heard(dropped="silence"), unprompted := missing(9.0)) is unprompted
    assert better_unprompted(prompted := missing(9.0), heard(failed=True)) is prompted


def test_a_prompted_text_that_the_audio_makes_less_likely_was_made_up() -> None:
    prompted, unprompted = heard(spoken_logprob=-0.6), heard(spoken_logprob=-0.3)
    assert better_unprompted(prompted, unprompted) is unprompted
    # A name that only the prompt could know costs a little.
    assert better_unprompted(prompted := heard(spoken_logprob=-0.44), unprompted) is prompted
    # Without an alignment nothing is known of it.
    assert better_unprompted(prompted := heard(spoken_logprob=None), unprompted) is prompted
    assert better_unprompted(prompted := heard(spoken_logprob=-9.0), heard(spoken_logprob=None)) is prompted


def test_what_was_taken_of_an_attempt_is_kept() -> None:
    word = RawWord(" a", 0.0, 1.0, 0.9)
    hole = Hole(1.0, 4.0, 2.5)
    attempt = Attempt((1, 2), "a", -0.4, 1.1, 0.2, 0.6, truncated=True, words=(word,), holes=(hole,), spoken_logprob=-1)

    own = transcribed(attempt, Take(attempt, failed=True, suspect="logprob"), "de", 0.8)

    assert own == Transcribed(
        language="de",
        language_probability=0.8,
        words=(word,),
        timed=(),
        tokens=2,
        avg_logprob=-0.4,
        compression_ratio=1.1,
        no_speech_prob=0.2,
        temperature=0.6,
        truncated=True,
        holes=(hole,),
        failed=True,
        dropped=None,
        suspect="logprob",
        spoken_logprob=-1,
    )
    assert own.missing == 2.5


def test_why_words_may_be_missing() -> None:
    assert heard().incomplete is None
    assert missing(4.0).incomplete == "incomplete"
    assert missing(4.0, truncated=True).incomplete == "truncated"
    assert missing(4.0, failed=True).incomplete is None
    assert missing(4.0, dropped="silence").incomplete is None


def test_each_segment_carries_the_doubt_of_its_window_unless_it_has_its_own() -> None:
    timed = (RawSegment(0.0, 1.0, " a", None), RawSegment(1.0, 2.0, " b", None, "no_speech"))
    doubted = heard(words=None, timed=timed, suspect="logprob")

    assert [segment.suspect for segment in doubted.segments] == ["logprob", "no_speech"]
    assert [segment.suspect for segment in heard((" a", 0.0, 1.0), suspect="pace").segments] == ["pace"]
    assert replace(doubted, dropped="repetition").segments == ()


def test_two_parts_are_one_text() -> None:
    left = heard((" a", 0.0, 1.0), holes=(Hole(1.0, 4.0, 2.5),), spoken_logprob=-0.4, no_speech_prob=0.3)
    right = heard((" b", 0.5, 1.0), (" c", 1.0, 2.0), holes=(Hole(2.0, 5.0, 2.1),), spoken_logprob=-0.8, suspect="pace")

    both = joined(left, replace(right, language="de", temperature=0.2), 10.0)

    assert [(word.word, word.start, word.end) for word in both.words or ()] == [
        (" a", 0.0, 1.0),
        (" b", 10.5, 11.0),
        (" c", 11.0, 12.0),
    ]
    assert both.holes == (Hole(1.0, 4.0, 2.5), Hole(12.0, 15.0, 2.1))
    assert both.spoken_logprob == pytest.approx((-0.4 * 2 - 0.8 * 3) / 5)
    assert (both.language, both.temperature, both.no_speech_prob, both.suspect) == ("de", 0.2, 0.0, "pace")
    assert joined(replace(left, spoken_logprob=None), right, 10.0).spoken_logprob is None
