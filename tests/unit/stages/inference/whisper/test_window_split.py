# SPDX-License-Identifier: Apache-2.0
"""Windows that are decoded in halves."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from stages.inference.whisper.split import (
    Half,
    Join,
    Transcribed,
    better,
    cut_window,
    may_split,
    missing_speech,
    quietest_point,
)
from stages.values import Piece, RawSegment, RawWord, Window


def heard(*words: tuple[str, float, float], **figures: object) -> Transcribed:
    base = Transcribed(
        language="en",
        language_probability=None,
        words=tuple(RawWord(text, start, end, 1.0) for text, start, end in words),
        timed=(),
        tokens=len(words),
        avg_logprob=-0.2,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        temperature=0.0,
        truncated=False,
        missing=0.0,
        failed=False,
        dropped=None,
    )
    return replace(base, **figures)  # type: ignore[arg-type]


def test_a_window_is_cut_inside_its_pieces() -> None:
    window = Window(
        7, (Piece(0, 1_000, 100), Piece(100, 5_000, 300)), speech=200, speech_end=350, overlap_before=10,
        overlap_after=20,
    )  # fmt: skip
    left, right = cut_window(window, 150)
    assert left == Window(7, (Piece(0, 1_000, 100), Piece(100, 5_000, 50)), 75, 150, 10, 0)
    assert right == Window(7, (Piece(0, 5_050, 250),), 125, 200, 0, 20)
    assert left.samples + right.samples == window.samples


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


def test_speech_behind_the_last_word_is_missing_when_it_is_more_than_three_seconds() -> None:
    assert missing_speech(10.0, 13.0) == 0.0
    assert missing_speech(10.0, 13.5) == 3.5
    assert missing_speech(15.0, 13.5) == 0.0


def test_splitting_has_bounds() -> None:
    cut_off = heard(truncated=True)
    assert may_split(cut_off, 0, 30.0)
    assert may_split(cut_off, 3, 3.0)
    assert not may_split(cut_off, 4, 30.0)
    assert not may_split(cut_off, 1, 1.5)
    assert not may_split(heard(), 0, 30.0)
    assert not may_split(replace(cut_off, failed=True), 1, 30.0)
    assert not may_split(heard(missing=9.0, dropped="repetition"), 0, 30.0)


def test_the_more_complete_text_wins_before_the_likelier_one() -> None:
    whole = heard(avg_logprob=-0.1, truncated=True)
    assert better(whole, halves := heard(avg_logprob=-0.9)) is halves
    assert better(heard(missing=9.0), halves) is halves
    assert better(whole := heard(missing=4.0), heard(missing=9.0)) is whole
    # As complete: the better one, and the whole when there is nothing between them.
    assert better(whole := heard(missing=4.0), heard(missing=4.5, avg_logprob=-0.3)) is whole
    assert better(heard(missing=4.0, failed=True), halves := heard(missing=4.5, avg_logprob=-0.9)) is halves
    assert better(whole := heard(missing=4.0), heard(missing=4.0)) is whole


def test_the_second_half_to_come_finishes_the_window_and_its_times_are_the_windows() -> None:
    join = Join(heard((" a", 0.0, 1.0), truncated=True), ("truncated",), 10.0, None)
    assert join.put(1, heard((" c", 1.0, 2.0), avg_logprob=-0.5, temperature=0.4), ("logprob",)) is None

    done = join.put(0, heard((" a", 0.0, 1.0), (" b", 1.0, 9.8)), ())

    assert done is not None
    result, retries = done
    assert retries == ("truncated", "logprob")
    assert result.words is not None
    assert [(item.word, item.start) for item in result.words] == [(" a", 0.0), (" b", 1.0), (" c", 11.0)]
    assert result.avg_logprob == pytest.approx((-0.2 * 3 - 0.5 * 2) / 5)
    assert result.temperature == 0.4


def test_splits_nest() -> None:
    outer = Join(heard(truncated=True), ("truncated",), 10.0, None)
    inner = Join(heard(truncated=True), ("truncated",), 5.0, Half(outer, 1))
    assert outer.put(0, heard((" a", 1.0, 2.0)), ()) is None
    assert inner.put(0, heard((" b", 1.0, 2.0)), ()) is None
    done = inner.put(1, heard((" c", 1.0, 2.0)), ())
    assert done is not None
    assert [(item.word, item.start) for item in done[0].words or ()] == [(" a", 1.0), (" b", 11.0), (" c", 16.0)]
    assert done[1] == ("truncated", "truncated")


def test_a_dropped_half_adds_no_text_and_two_drop_the_window() -> None:
    join = Join(heard(truncated=True), (), 10.0, None)
    join.put(0, heard((" a", 0.0, 1.0)), ())
    done = join.put(1, heard((" b", 0.0, 1.0), dropped="silence"), ())
    assert done is not None
    assert [segment.text for segment in done[0].segments] == [" a"]

    join = Join(heard(truncated=True, dropped="repetition"), (), 10.0, None)
    join.put(0, heard((" a", 0.0, 1.0), dropped="silence"), ())
    done = join.put(1, heard((" b", 0.0, 1.0), dropped="repetition"), ())
    assert done is not None
    assert (done[0].dropped, done[0].segments) == ("silence", ())


def test_halves_with_segments_by_timestamps_are_joined_too() -> None:
    join = Join(heard(truncated=True, words=None), (), 10.0, None)
    join.put(0, heard(words=None, timed=(RawSegment(0.0, 9.0, " a", None),)), ())
    done = join.put(1, heard(words=None, timed=(RawSegment(1.0, 2.0, " b", None),)), ())
    assert done is not None
    assert [(segment.start, segment.text) for segment in done[0].segments] == [(0.0, " a"), (11.0, " b")]


def test_halves_may_come_from_two_threads_at_once() -> None:
    for _ in range(50):
        join = Join(heard(truncated=True), (), 10.0, None)
        barrier = threading.Barrier(2)
        results: list[object] = []

        def bring(place: int, join: Join = join, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(5.0)
            results.append(join.put(place, heard((" a", 0.0, 1.0)), ()))  # noqa: B023 - joined before the next round

        threads = [threading.Thread(target=bring, args=(place,)) for place in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5.0)
        assert sum(result is not None for result in results) == 1
