# SPDX-License-Identifier: Apache-2.0
"""Window results become one transcript: the file's clock, and overlaps kept once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqscribe.transcript import Transcript
from stages.assemble import assemble
from stages.segment.cut import CutSettings, cut_track
from stages.segment.vad import FRAME, Track
from stages.values import SAMPLE_RATE, Audio, RawSegment, Window, WindowResult, Windows
from worker.testing.assembling import Timed, assembled, job, plain, result, timed, window, words


def spelled(transcript: Transcript) -> list[str]:
    return [text for text, _, _ in timed(transcript)]


# The file's clock


def test_times_are_those_of_the_file_and_text_that_of_the_words() -> None:
    windows = job(window(0, (3, 5), (10, 14)), window(1, (20, 25)), start=60.0, channel=1)

    transcript = assembled(
        windows,
        result(0, words(("one", 0.5, 1.0), ("two", 1.0001, 1.5)), words(("three.", 2.25, 3.0))),
        result(1, words(("four", 0.0, 0.33333))),
    )

    assert timed(transcript) == [
        ("one", 63.5, 64.0),
        ("two", 64.0, 64.5),
        ("three.", 70.25, 71.0),
        ("four", 80.0, 80.333),
    ]
    assert [(s.id, s.start, s.end, s.text) for s in transcript.segments] == [
        (0, 63.5, 64.5, " one two"),
        (1, 70.25, 71.0, " three."),
        (2, 80.0, 80.333, " four"),
    ]
    assert transcript.text == "one two three. four"
    assert (transcript.language, transcript.language_probability, transcript.duration) == ("en", 0.9, 100.0)
    first = transcript.segments[0]
    assert (first.avg_logprob, first.compression_ratio, first.no_speech_prob, first.temperature) == (
        -0.25,
        1.5,
        0.01,
        0,
    )
    assert (first.language, first.channel) == (None, 1)


def test_a_word_across_silence_that_was_left_out_stays_where_its_middle_is() -> None:
    windows = job(window(0, (0, 4), (10, 14)))

    transcript = assembled(windows, result(0, words(("early", 3.5, 4.2), ("late", 4.2, 4.6))))
    other = assembled(windows, result(0, words(("late", 3.9, 4.6))))

    assert timed(transcript) == [("early", 3.5, 4.0), ("late", 10.2, 10.6)]
    assert timed(other) == [("late", 10.0, 10.6)]


def test_a_word_beyond_the_window_is_kept_within_it() -> None:
    transcript = assembled(job(window(0, (0, 4), (10, 14))), result(0, words(("last", 7.9, 8.4), ("gone", 8.5, 9.0))))

    # Neither takes no time, so the last one is given some at the other's cost.
    assert timed(transcript) == [("last", 13.9, 13.98), ("gone", 13.98, 14.0)]


def test_a_segment_is_split_where_silence_was_left_out_between_two_words() -> None:
    windows = job(window(0, (0, 4), (4.6, 8.6), (8.8, 10.6)))

    transcript = assembled(
        windows, result(0, words(("a", 1, 2), ("b", 3, 3.9), ("c", 4.1, 5), ("d", 7, 8), ("e", 8.5, 9)))
    )

    assert [(s.id, s.text, s.start, s.end) for s in transcript.segments] == [
        (0, " a b", 1.0, 3.9),
        (1, " c d e", 4.7, 9.8),
    ]


def test_a_segment_without_words_takes_the_pieces_that_it_fills() -> None:
    windows = job(window(0, (0, 4), (10, 14), (20, 24)))

    transcript = assembled(
        windows, result(0, plain("both", 1.0, 6.0), plain("second", 6.0, 8.1), plain("third", 8.1, 30.0))
    )
    touching = assembled(windows, result(0, plain("second", 3.8, 8.2)))

    assert [(s.text, s.start, s.end, s.words) for s in transcript.segments] == [
        (" both", 1.0, 12.0, None),
        (" second", 12.0, 14.0, None),
        (" third", 20.1, 24.0, None),
    ]
    assert [(s.start, s.end) for s in touching.segments] == [(10.0, 14.0)]


def test_an_unaligned_text_keeps_its_empty_words() -> None:
    transcript = assembled(job(window(0, (5, 9))), result(0, RawSegment(1.0, 2.0, " one two", ())))

    assert [(s.text, s.start, s.end, s.words) for s in transcript.segments] == [(" one two", 6.0, 7.0, ())]


def test_a_text_of_blanks_is_no_segment() -> None:
    transcript = assembled(job(window(0, (5, 9))), result(0, plain(" ", 1.0, 2.0), plain("yes", 2.0, 3.0)))

    assert [(s.id, s.text) for s in transcript.segments] == [(0, " yes")]


def test_times_never_fall() -> None:
    transcript = assembled(
        job(window(0, (0, 10))), result(0, words(("a", 1, 3), ("b", 2.5, 2.4), ("c", 2.0, 2.2), ("d", 2.1, 4)))
    )

    times = [time for _, start, end in timed(transcript) for time in (start, end)]
    assert times == sorted(times)
    assert spelled(transcript) == ["a", "b", "c", "d"]


# Nothing said, and what must be there


def test_without_windows_there_is_no_text_and_no_language() -> None:
    transcript = assembled(job(seconds=12.3456))

    assert transcript == Transcript("", None, None, 12.346, ())


def test_when_nothing_was_heard_the_language_is_unknown() -> None:
    transcript = assembled(job(window(0, (0, 4))), replace(result(0), dropped="silence"))

    assert (transcript.text, transcript.language, transcript.language_probability) == ("", None, None)


def test_a_window_without_a_result_is_an_error() -> None:
    with pytest.raises(KeyError):
        assembled(job(window(0, (0, 4)), window(1, (5, 9))), result(0))


def test_some_of_the_windows_can_be_assembled() -> None:
    windows = job(window(0, (0, 20), after=1), window(2, (20, 40), before=1))

    transcript = assembled(windows, result(0, words(("no", 19.6, 19.9))), result(2, words(("no", 0.05, 0.3))))

    assert timed(transcript) == [("no", 19.6, 19.9), ("no", 20.05, 20.3)], "no neighbours: nothing was heard twice"


# Languages


def test_under_multi_segments_carry_their_language_and_the_most_spoken_one_stands_for_all() -> None:
    windows = job(window(0, (0, 10)), window(1, (20, 28)), window(2, (30, 37)), window(3, (40, 69)))
    results = [
        result(0, words(("hello", 0, 1)), language="en", language_probability=0.5),
        result(1, words(("hallo", 0, 1)), language="de", language_probability=0.9),
        result(2, words(("world", 0, 1)), language="en", language_probability=0.3),
        result(3, language="fr", language_probability=1.0),
    ]

    transcript = assemble(windows, {one.index: one for one in results}, None, None, multi=True)

    assert [segment.language for segment in transcript.segments] == ["en", "de", "en"]
    assert transcript.language == "de", "7.2 weighted seconds against 7.1; in silence nothing is spoken"
    assert transcript.language_probability == pytest.approx(0.9)


# Overlaps: 0 to 20 s and 19 to 39 s of the file
PAIR = job(window(0, (0, 20), after=1), window(1, (19, 39), before=1))


def joined(before: list[Timed], after: list[Timed]) -> list[str]:
    """What becomes of words at the end of the first window and at the beginning of the second, in file seconds."""
    moved = [(text, start - 19, end - 19) for text, start, end in after]
    return spelled(
        assembled(
            PAIR, result(0, *([words(*before)] if before else [])), result(1, *([words(*moved)] if moved else []))
        )
    )


def test_what_both_heard_is_kept_once() -> None:
    assert joined(
        [("red", 18.2, 18.8), ("blue", 19.1, 19.4), ("green", 19.6, 19.9)],
        [("blue", 19.2, 19.5), ("Green,", 19.5, 19.8), ("white", 20.1, 20.5)],
    ) in (["red", "blue", "green", "white"], ["red", "blue", "Green,", "white"])


def test_what_only_one_heard_is_kept() -> None:
    assert joined([("red", 19.6, 19.9)], []) == ["red"]
    assert joined([], [("red", 19.1, 19.3)]) == ["red"]
    assert joined([("red", 19.0, 19.2)], [("blue", 19.7, 19.9)]) == ["red", "blue"]


def test_a_word_cut_by_the_end_of_a_window_is_taken_from_the_other() -> None:
    assert joined([("may", 19.1, 19.4), ("satur", 19.8, 20)], [("saturday", 19.8, 20.4)]) == ["may", "saturday"]
    assert joined([("saturday", 18.6, 19.2)], [("day", 19, 19.2), ("may", 19.6, 19.9)]) == ["saturday", "may"]
    assert joined(
        [("red", 18.4, 18.8), ("nine", 19.4, 19.6), ("satur", 19.8, 20)],
        [("day", 19, 19.2), ("nine", 19.4, 19.6), ("saturday", 19.8, 20.4)],
    ) == ["red", "nine", "saturday"]


def test_a_part_of_a_word_that_the_windows_place_apart_is_dropped() -> None:
    assert joined([("saturday", 18.4, 18.95)], [("day", 19.0, 19.15), ("up", 21, 22)]) == ["saturday", "up"]
    assert joined([("red", 18, 18.4), ("satur", 19.7, 19.98)], [("saturday", 20.05, 20.5)]) == ["red", "saturday"]
    assert joined([("red", 18, 18.4)], [("blue", 19.05, 19.4)]) == ["red", "blue"], "nobody else could hear it"


def test_a_word_that_each_heard_differently_is_kept_once_from_the_one_with_more_around_it() -> None:
    assert joined([("ate", 19.1, 19.4), ("red", 18.0, 18.1)][::-1], [("eight", 19.15, 19.4), ("up", 21, 22)]) == [
        "red",
        "ate",
        "up",
    ]
    assert joined([("ate", 19.6, 19.9)], [("eight", 19.65, 19.9), ("up", 21, 22)]) == ["eight", "up"]


def test_a_word_said_twice_stays_twice() -> None:
    said = [("no", 19.1, 19.3), ("no", 19.35, 19.55), ("no", 19.6, 19.8)]

    assert joined(said, said) == ["no"] * 3
    assert joined([("no", 18.8, 18.95), *said], [*said, ("no", 20.1, 20.3)]) == ["no"] * 5


def test_the_segments_at_a_seam_keep_only_their_words() -> None:
    transcript = assembled(
        PAIR,
        result(0, words(("red", 18.0, 18.4), ("blue", 19.2, 19.4), ("gr", 19.8, 20.0))),
        result(1, words(("blue", 0.2, 0.4), ("green", 0.8, 1.3))),
    )

    assert [(s.text, s.start, s.end) for s in transcript.segments] == [
        (" red blue", 18.0, 19.4),
        (" green", 19.8, 20.3),
    ]


def test_segments_without_words_are_kept_once() -> None:
    # Given a short segment that lies in the overlap, and long ones that reach into it
    short = assembled(PAIR, result(0, plain("Yes.", 19.2, 19.8)), result(1, plain("Yes", 0.1, 0.8), plain("No.", 3, 4)))
    misheard = assembled(PAIR, result(0, plain("Yes.", 19.1, 19.6)), result(1, plain("Jess.", 0.1, 0.6)))
    long = assembled(
        PAIR,
        result(0, plain("I saw the blue house.", 16, 20)),
        result(1, plain("the blue house. It was old.", 0, 4)),
    )
    apart = assembled(PAIR, result(0, plain("One two", 18, 19.8)), result(1, plain("three four", 0.2, 3)))

    assert [s.text for s in short.segments] == [" Yes.", " No."] or [s.text for s in short.segments] == [" Yes", " No."]
    assert len(misheard.segments) == 1
    assert long.text == "I saw the blue house. It was old."
    assert apart.text == "One two three four"
    for transcript in (short, misheard, long, apart):
        times = [time for segment in transcript.segments for time in (segment.start, segment.end)]
        assert times == sorted(times)


# Any stream of words, cut by the real cutter


@st.composite
def streams(draw: st.DrawFn, *, repeated: bool) -> tuple[list[Timed], Windows, float, int]:
    """Words in the file, the windows they were cut into, how far windows misplace them, a seed."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    count = draw(st.integers(2, 130))
    pauses = draw(st.sampled_from(["none", "short", "mixed"]))
    said: list[Timed] = []
    time = 0.3
    for number in range(count):
        length = float(random.uniform(0.25, 0.7))
        said.append((str(random.choice(["no", "go"])) if repeated else f"w{number}", time, time + length))
        gap = {"none": 0.0, "short": 0.15, "mixed": float(random.choice([0.0, 0.0, 0.1, 0.5, 3.0]))}[pauses]
        time += length + gap
    samples = round((time + 0.3) * SAMPLE_RATE)
    frames = -(-samples // FRAME)
    probabilities = np.full(frames, 0.02, np.float32)
    for _, start, end in said:
        probabilities[int(start * SAMPLE_RATE) // FRAME : int(end * SAMPLE_RATE) // FRAME + 1] = 0.98
    track = Track(samples, probabilities, random.integers(0, 80, frames).astype(np.uint8))
    windows, speech = cut_track(track, CutSettings(), vad=draw(st.booleans()))
    audio = Audio(Path("audio.pcm"), samples, draw(st.sampled_from([0.0, 12.5])), "0" * 64)
    return said, Windows(audio, windows, speech / SAMPLE_RATE, "cut"), 0.03 if repeated else 0.15, seed


def heard(said: list[Timed], one: Window, jitter: float, random: np.random.Generator, *, split: bool) -> WindowResult:
    """What an engine would hear in a window: its words, misplaced a little, and fragments at its ends."""
    found: list[Timed] = []
    for piece in one.pieces:
        shift = (piece.window_start - piece.file_start) / SAMPLE_RATE
        begin, finish = piece.file_start / SAMPLE_RATE, (piece.file_start + piece.length) / SAMPLE_RATE
        for text, start, end in said:
            left, right = max(start, begin), min(end, finish)
            if right <= left or (right - left < end - start - 1e-6 and (right - left < 0.1 or random.random() < 0.3)):
                continue
            whole = right - left >= end - start - 1e-6
            moved = float(random.uniform(-jitter, jitter)) if whole else 0.0
            found.append((text if whole else f"{text}-part", left + shift + moved, right + shift + moved))
    # As aligned words do, they follow each other.
    ordered: list[Timed] = []
    last = 0.0
    for text, start, end in found:
        from_, to = max(start, last), max(end, last)
        ordered.append((text, from_, to))
        last = to
    size = int(random.integers(1, 9)) if split else len(ordered) or 1
    return result(one.index, *(words(*ordered[at : at + size]) for at in range(0, len(ordered), size)))


def check_stream(said: list[Timed], windows: Windows, jitter: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    results = {one.index: heard(said, one, jitter, random, split=True) for one in windows.windows}

    transcript = assemble(windows, results, "en", None)

    assert spelled(transcript) == [text for text, _, _ in said], "a word was lost or doubled"
    found = timed(transcript)
    times = [time for _, start, end in found for time in (start, end)]
    assert times == sorted(times)
    for (_, start, _), (_, true_start, true_end) in zip(found, said, strict=True):
        assert true_start - jitter - 0.002 <= start - windows.audio.start <= true_end + jitter + 0.002
    pieces = [
        (piece.file_start / SAMPLE_RATE, (piece.file_start + piece.length) / SAMPLE_RATE)
        for one in windows.windows
        for piece in one.pieces
    ]
    for _, start, end in found:
        left, right = start - windows.audio.start, end - windows.audio.start
        assert any(begin - 0.002 <= left and right <= finish + 0.002 for begin, finish in pieces), "spans a silence"
    assert [segment.id for segment in transcript.segments] == list(range(len(transcript.segments)))
    for segment in transcript.segments:
        assert segment.words
        assert segment.text == "".join(word.word for word in segment.words)
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
    for before, after in pairwise(transcript.segments):
        assert before.end <= after.start


def test_a_word_said_twice_in_a_row_at_a_seam_is_kept_twice() -> None:
    # Given the first of two equal words at the end of a window, the second at the start of the next, and times that
    # overlap by a hundredth
    before = result(0, words(("go", 18.06, 18.70)))
    after = result(1, words(("go", 0.486, 1.086), ("no", 1.4, 1.7)))
    both = job(window(0, (0, 19.204), after=1), window(1, (18.204, 37.754), before=1))

    transcript = assembled(both, before, after)

    assert transcript.text == "go go no"


@settings(max_examples=40, deadline=None)
@given(streams(repeated=False))
def test_no_word_is_lost_or_doubled(stream: tuple[list[Timed], Windows, float, int]) -> None:
    check_stream(*stream)


@settings(max_examples=40, deadline=None)
@given(streams(repeated=True))
def test_no_word_is_lost_or_doubled_where_words_repeat(stream: tuple[list[Timed], Windows, float, int]) -> None:
    check_stream(*stream)
