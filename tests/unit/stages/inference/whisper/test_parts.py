# SPDX-License-Identifier: Apache-2.0
"""Windows that are decoded in parts: when, and the parts' way back."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from stages.inference.judge.coverage import Hole
from stages.inference.whisper.parts import Half, Halves, Rest, may_split
from stages.values import RawSegment
from worker.testing.transcribed import heard


def left_out(seconds: float) -> tuple[Hole, ...]:
    return (Hole(0.0, seconds, seconds),)


def test_splitting_has_bounds() -> None:
    cut_off = heard(truncated=True)
    assert may_split(cut_off, 0, 30.0)
    assert may_split(cut_off, 3, 3.0)
    assert not may_split(cut_off, 4, 30.0)
    assert not may_split(cut_off, 1, 1.5)
    assert not may_split(heard(), 0, 30.0)
    assert not may_split(replace(cut_off, failed=True), 1, 30.0)
    assert not may_split(heard(holes=left_out(9.0), dropped="repetition"), 0, 30.0)


def test_a_window_with_holes_is_split_less_often_and_not_when_it_was_no_good() -> None:
    holes = heard(holes=left_out(4.0))
    assert may_split(holes, 2, 3.0)
    assert not may_split(holes, 3, 30.0)
    assert not may_split(holes, 0, 1.9)
    # What no attempt could make likely says nothing by leaving speech out; what was cut off lacks words for certain.
    assert not may_split(replace(holes, failed=True), 0, 30.0)
    assert may_split(replace(holes, failed=True, truncated=True), 0, 30.0)


def test_the_second_half_to_come_finishes_the_window_and_its_times_are_the_windows() -> None:
    halves = Halves(heard((" a", 0.0, 1.0), truncated=True), ("truncated",), 10.0, None)
    assert halves.put(1, heard((" c", 1.0, 2.0), avg_logprob=-0.5, temperature=0.4), ("logprob",)) is None

    done = halves.put(0, heard((" a", 0.0, 1.0), (" b", 1.0, 9.8)), ())

    assert done is not None
    result, retries = done
    assert retries == ("truncated", "logprob")
    assert result.words is not None
    assert [(item.word, item.start) for item in result.words] == [(" a", 0.0), (" b", 1.0), (" c", 11.0)]
    assert result.avg_logprob == pytest.approx((-0.2 * 3 - 0.5 * 2) / 5)
    assert result.temperature == 0.4


def test_splits_nest() -> None:
    outer = Halves(heard(truncated=True), ("truncated",), 10.0, None)
    inner = Halves(heard(truncated=True), ("truncated",), 5.0, Half(outer, 1))
    assert outer.put(0, heard((" a", 1.0, 2.0)), ()) is None
    assert inner.put(0, heard((" b", 1.0, 2.0)), ()) is None
    done = inner.put(1, heard((" c", 1.0, 2.0)), ())
    assert done is not None
    assert [(item.word, item.start) for item in done[0].words or ()] == [(" a", 1.0), (" b", 11.0), (" c", 16.0)]
    assert done[1] == ("truncated", "truncated")


def test_a_dropped_half_adds_no_text_and_two_drop_the_window() -> None:
    halves = Halves(heard(truncated=True), (), 10.0, None)
    halves.put(0, heard((" a", 0.0, 1.0)), ())
    done = halves.put(1, heard((" b", 0.0, 1.0), dropped="silence"), ())
    assert done is not None
    assert [segment.text for segment in done[0].segments] == [" a"]

    halves = Halves(heard(truncated=True, dropped="repetition"), (), 10.0, None)
    halves.put(0, heard((" a", 0.0, 1.0), dropped="silence"), ())
    done = halves.put(1, heard((" b", 0.0, 1.0), dropped="repetition"), ())
    assert done is not None
    assert (done[0].dropped, done[0].segments) == ("silence", ())


def test_halves_with_segments_by_timestamps_are_joined_too() -> None:
    halves = Halves(heard(truncated=True, words=None), (), 10.0, None)
    halves.put(0, heard(words=None, timed=(RawSegment(0.0, 9.0, " a", None),)), ())
    done = halves.put(1, heard(words=None, timed=(RawSegment(1.0, 2.0, " b", None),)), ())
    assert done is not None
    assert [(segment.start, segment.text) for segment in done[0].segments] == [(0.0, " a"), (11.0, " b")]


def test_halves_may_come_from_two_threads_at_once() -> None:
    for _ in range(50):
        halves = Halves(heard(truncated=True), (), 10.0, None)
        barrier = threading.Barrier(2)
        results: list[object] = []

        def bring(place: int, halves: Halves = halves, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(5.0)
            results.append(halves.put(place, heard((" a", 0.0, 1.0)), ()))  # noqa: B023 - joined before the next round

        threads = [threading.Thread(target=bring, args=(place,)) for place in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5.0)
        assert sum(result is not None for result in results) == 1


def test_halves_that_leave_out_more_than_the_whole_are_thrown_away() -> None:
    # Given a window that left out two seconds
    whole = heard((" a", 0.0, 1.0), holes=left_out(2.5))
    halves = Halves(whole, ("incomplete",), 10.0, None)

    # When one of its halves leaves out more
    halves.put(0, heard((" x", 0.0, 1.0), holes=left_out(4.0)), ())
    done = halves.put(1, heard((" y", 0.0, 1.0)), ("logprob",))

    # Then the window stands, and how it came about is told all the same
    assert done == (whole, ("incomplete", "logprob"))


def test_a_rest_goes_behind_what_was_transcribed_before_it() -> None:
    before = heard(words=None, timed=(RawSegment(0.0, 9.0, " a", None),))
    rest = Rest(before, ("rest",), 9.5, None)

    done = rest.put(heard(words=None, timed=(RawSegment(0.5, 2.0, " b", None),), holes=left_out(2.5)), ("rest",))

    assert done is not None
    whole, retries = done
    assert [(segment.start, segment.end, segment.text) for segment in whole.segments] == [
        (0.0, 9.0, " a"),
        (10.0, 11.5, " b"),
    ]
    assert whole.holes == (Hole(9.5, 12.0, 2.5),)
    assert retries == ("rest", "rest")


def test_a_rest_without_text_costs_nothing_that_was_there() -> None:
    before = heard(words=None, timed=(RawSegment(0.0, 9.0, " a", None),))

    done = Rest(before, ("rest",), 9.5, None).put(
        heard(words=None, timed=(RawSegment(0.5, 2.0, " b", None),), dropped="silence"), ()
    )

    assert done is not None
    assert done[0].dropped is None
    assert [segment.text for segment in done[0].segments] == [" a"]


def test_the_rest_of_a_half_is_handed_on_to_the_window() -> None:
    halves = Halves(heard(words=None, truncated=True), ("truncated",), 10.0, None)
    timed = heard(words=None, timed=(RawSegment(0.0, 4.0, " b", None),))
    assert halves.put(0, heard(words=None, timed=(RawSegment(0.0, 9.0, " a", None),)), ()) is None

    done = Rest(timed, ("rest",), 5.0, Half(halves, 1)).put(
        heard(words=None, timed=(RawSegment(1.0, 2.0, " c", None),)), ()
    )

    assert done is not None
    assert [(segment.start, segment.text) for segment in done[0].segments] == [(0.0, " a"), (10.0, " b"), (16.0, " c")]
    assert done[1] == ("truncated", "rest")
