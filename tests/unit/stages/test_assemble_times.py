# SPDX-License-Identifier: Apache-2.0
"""Whatever times a model gives, those of the transcript are possible."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.values import SAMPLE_RATE, Audio, RawSegment, RawWord, Window, WindowResult, Windows
from worker.testing.assembling import assembled, job, result, timed, window, words


@st.composite
def hard_cases(draw: st.DrawFn) -> tuple[Windows, list[WindowResult]]:
    """Windows with texts at times that make no sense: no length, reversed, beyond the end, all in one place."""
    laid: list[Window] = []
    at = draw(st.floats(0, 3))
    for index in range(draw(st.integers(1, 3))):
        pieces: list[tuple[float, float]] = []
        for _ in range(draw(st.integers(1, 3))):
            length = draw(st.floats(1, 8))
            pieces.append((at, at + length))
            at += length + draw(st.floats(0.1, 3))
        laid.append(window(index, *pieces))
    place = draw(st.floats(0, 8))
    times = st.one_of(
        st.floats(-2, 40),
        st.just(place),
        st.floats(place, place + 0.03),
        st.sampled_from([0.0, 1e-9, 30.0]),
        st.sampled_from([each.seconds for each in laid]),
    )
    made = st.builds(RawWord, st.sampled_from([" a", " b", " ."]), times, times, st.floats(0, 1))
    spoken = st.lists(made, min_size=1, max_size=12).map(
        lambda many: RawSegment(many[0].start, many[-1].end, "".join(word.word for word in many), tuple(many))
    )
    plain_text = st.builds(RawSegment, times, times, st.sampled_from([" a", " b c"]), st.sampled_from([None, ()]))
    results = [result(each.index, *draw(st.lists(spoken | plain_text, max_size=4))) for each in laid]
    # The file may end right behind the last window, or later.
    seconds = laid[-1].pieces[-1].file_start / SAMPLE_RATE + laid[-1].pieces[-1].length / SAMPLE_RATE
    start = draw(st.sampled_from([0.0, 12.5, 3600.001]))
    return job(*laid, start=start, seconds=seconds + draw(st.sampled_from([0.0, 5.0]))), results


def check_times(spans: list[tuple[float, float]], audio: Audio) -> None:
    for start, end in spans:
        assert audio.start <= start, "before the file"
        assert start + 0.01 <= end, "no length"
        assert end <= audio.start + audio.seconds + 0.001, "behind the file"
    for before, after in pairwise(spans):
        assert before[1] <= after[0], "out of order"


@settings(max_examples=200, deadline=None)
@given(hard_cases())
def test_whatever_the_model_says_times_are_possible(case: tuple[Windows, list[WindowResult]]) -> None:
    windows, results = case

    transcript = assembled(windows, *results)

    check_times([(segment.start, segment.end) for segment in transcript.segments], windows.audio)
    check_times([(start, end) for _, start, end in timed(transcript)], windows.audio)
    for segment in transcript.segments:
        if segment.words:
            assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
    # Nothing was lost on the way.
    texts = "".join(
        "".join(word.word for word in each.words) if each.words else each.text
        for one in results
        for each in one.segments
    )
    assert sorted(transcript.text.replace(" ", "")) == sorted(texts.replace(" ", ""))


def test_texts_that_are_all_in_one_place_get_their_turns() -> None:
    windows = job(window(0, (0, 4)), seconds=4.0)

    at_the_end = assembled(windows, result(0, words(*[(str(at), 4.0, 4.0) for at in range(5)])))
    at_the_start = assembled(windows, result(0, words(*[(str(at), 0.0, 0.0) for at in range(5)])))
    between = assembled(windows, result(0, words(("a", 1, 2), ("b", 2, 2), ("c", 2, 2), ("d", 2, 3))))

    assert timed(at_the_end) == [(str(at), round(3.9 + at * 0.02, 3), round(3.92 + at * 0.02, 3)) for at in range(5)]
    assert timed(at_the_start) == [(str(at), round(at * 0.02, 3), round(0.02 + at * 0.02, 3)) for at in range(5)]
    assert timed(between) == [("a", 1.0, 1.96), ("b", 1.96, 1.98), ("c", 1.98, 2.0), ("d", 2.0, 3.0)]
