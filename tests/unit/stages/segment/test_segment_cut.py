# SPDX-License-Identifier: Apache-2.0
"""What the cutter promises of every probability track, real or not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqscribe.tuning import Tuning, VadTuning
from stages.segment.cut import CutSettings, cut_track
from stages.segment.tuned import tuned
from stages.segment.vad import FRAME, Track
from stages.values import GAIN_STEP, Window

LONGEST = 480_000
OVERLAP = 16_000
SECOND = 16_000

#: Runs of frames that share a level of probability: the shapes of speech, babble, doubt and silence.
RUNS = st.lists(
    st.tuples(
        st.sampled_from(["speech", "doubt", "silence", "babble"]),
        st.one_of(st.integers(1, 40), st.integers(1, 400), st.integers(900, 2500)),
    ),
    min_size=1,
    max_size=25,
)


def made(
    runs: list[tuple[str, int]], seed: int, cut_off: int = 0, levels: npt.NDArray[np.uint8] | None = None
) -> Track:
    random = np.random.default_rng(seed)
    bounds = {"speech": (0.8, 1.0), "doubt": (0.3, 0.55), "silence": (0.0, 0.1), "babble": (0.0, 1.0)}
    probabilities = np.concatenate([random.uniform(*bounds[kind], frames) for kind, frames in runs])
    if levels is None:
        levels = random.integers(0, 90, len(probabilities)).astype(np.uint8)
    return Track(len(probabilities) * FRAME - cut_off, probabilities.astype(np.float32), levels)


TRACKS = st.builds(made, RUNS, st.integers(0, 2**32 - 1), st.integers(0, FRAME - 1))


def samples_of(windows: tuple[Window, ...], samples: int) -> npt.NDArray[np.int8]:
    """How many windows hold each sample."""
    held = np.zeros(samples, np.int8)
    for window in windows:
        for piece in window.pieces:
            held[piece.file_start : piece.file_start + piece.length] += 1
    return held


def speech_of(track: Track) -> npt.NDArray[np.bool_]:
    """Frame by frame, as the definition has it: 0.5 begins speech, less than 0.35 ends it."""
    spoken = np.zeros(track.samples, np.bool_)
    state = False
    for index, probability in enumerate(track.probabilities):
        state = probability >= 0.5 or (state and probability >= 90 / 256)
        spoken[index * FRAME : (index + 1) * FRAME] = state
    return spoken


def check_shape(windows: tuple[Window, ...], longest: int = LONGEST) -> None:
    """What holds for every cut of anything."""
    for place, window in enumerate(windows):
        assert window.index == place
        assert window.pieces[0].window_start == 0
        assert 0 < window.samples <= longest
        assert all(piece.length > 0 for piece in window.pieces)
        for before, after in pairwise(window.pieces):
            assert after.window_start == before.window_start + before.length
            assert after.file_start > before.file_start + before.length
        assert 0 <= window.speech <= window.samples
        assert window.speech <= window.speech_end <= window.samples
    for left, right in pairwise(windows):
        last, first = left.pieces[-1], right.pieces[0]
        assert left.overlap_after == right.overlap_before
        assert left.overlap_after in {0, OVERLAP}
        if left.overlap_after:
            assert first.file_start == last.file_start + last.length - OVERLAP
            # Both hold the shared second in one piece, and no third window does.
            assert last.length >= OVERLAP
            assert first.length >= OVERLAP
            assert left.overlap_before + left.overlap_after <= left.samples
        else:
            assert first.file_start >= last.file_start + last.length
    if windows:
        assert windows[0].overlap_before == windows[-1].overlap_after == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TRACKS)
def test_with_vad_speech_is_held_once_and_long_silence_is_left_out(track: Track) -> None:
    windows, speech = cut_track(track, CutSettings(), vad=True)

    check_shape(windows)
    held, spoken = samples_of(windows, track.samples), speech_of(track)
    overlaps = sum(window.overlap_after for window in windows)
    assert (held[spoken] > 0).all(), "speech was lost"
    assert held.max(initial=0) <= 2
    assert (held == 2).sum() == overlaps, "held twice outside an overlap"
    assert speech == spoken.sum()
    assert sum(window.speech for window in windows) == sum(
        int(spoken[piece.file_start : piece.file_start + piece.length].sum())
        for window in windows
        for piece in window.pieces
    )
    # Every border without an overlap lies in silence, a frame away from speech or at an end of the file.
    for window in windows:
        for piece in window.pieces:
            end = piece.file_start + piece.length
            if piece.window_start or not window.overlap_before:
                assert piece.file_start == 0 or not spoken[piece.file_start - 1 : piece.file_start + 1].any()
            if end != window.pieces[-1].file_start + window.pieces[-1].length or not window.overlap_after:
                assert end == track.samples or not spoken[end - 1 : end + 1].any()
    # What is left out is silence with silence around it.
    quiet = np.flatnonzero(held == 0)
    if len(quiet):
        near = np.concatenate([np.arange(-6_400, 6_401)])
        edges = np.union1d(quiet[np.flatnonzero(np.diff(quiet, prepend=-9) > 1)], quiet[-1:])
        for edge in edges:
            around = (edge + near).clip(0, track.samples - 1)
            assert not spoken[around[np.abs(near) < 6_399]].any()


@settings(max_examples=40, deadline=None)
@given(TRACKS)
def test_without_vad_every_sample_is_held_and_every_cut_overlaps(track: Track) -> None:
    windows, _ = cut_track(track, CutSettings(), vad=False)

    check_shape(windows)
    held = samples_of(windows, track.samples)
    assert held.min() == 1
    assert (held == 2).sum() == OVERLAP * (len(windows) - 1)
    assert all(window.overlap_after == OVERLAP for window in windows[:-1])


@settings(max_examples=40, deadline=None)
@given(TRACKS, st.booleans())
def test_overlaps_never_meet_however_short_the_windows(track: Track, vad: bool) -> None:
    windows, _ = cut_track(track, CutSettings(target=1.2, longest=4.0), vad=vad)

    check_shape(windows, longest=64_000)
    assert samples_of(windows, track.samples).max() <= 2


@settings(max_examples=40, deadline=None)
@given(
    TRACKS,
    st.booleans(),
    st.builds(VadTuning, st.floats(0, 1), st.floats(0, 60), st.floats(0, 10)),
    st.floats(5, 30),
)
def test_whatever_a_job_asks_for_every_cut_is_sound(
    track: Track, vad: bool, silence: VadTuning, max_window: float
) -> None:
    tuning = Tuning(vad=silence, max_window=max_window)

    windows, _ = cut_track(track, tuned(CutSettings(), tuning), vad=vad)

    check_shape(windows, longest=round(max_window * SECOND))
    assert samples_of(windows, track.samples).max() <= 2


@settings(max_examples=30, deadline=None)
@given(TRACKS, st.booleans())
def test_the_same_track_gives_the_same_cut(track: Track, vad: bool) -> None:
    again = Track(track.samples, track.probabilities.copy(), track.levels.copy())

    assert cut_track(track, CutSettings(), vad=vad) == cut_track(again, CutSettings(), vad=vad)


@settings(max_examples=30, deadline=None)
@given(RUNS, st.integers(0, 2**32 - 1), st.booleans())
def test_float_noise_moves_no_cut(runs: list[tuple[str, int]], seed: int, vad: bool) -> None:
    track = made(runs, seed)
    # Probabilities in the middles of the steps that decisions are made in: noise cannot take them across.
    middles = np.floor(track.probabilities * 256).clip(0, 255) / 256 + 1 / 512
    noise = np.random.default_rng(seed).uniform(-1e-4, 1e-4, len(middles))
    one, other = (
        Track(track.samples, values.astype(np.float32), track.levels) for values in (middles, middles + noise)
    )

    assert cut_track(one, CutSettings(), vad=vad) == cut_track(other, CutSettings(), vad=vad)


def spoken_track(pattern: list[tuple[float, float]]) -> Track:
    """Seconds of speech and of silence, in turn."""
    return made(
        [
            (kind, round(s * 31.25))
            for pair in pattern
            for kind, s in zip(("speech", "silence"), pair, strict=True)
            if s
        ],
        0,
    )


def test_short_pauses_stay_in_and_long_ones_are_left_out() -> None:
    windows, speech = cut_track(spoken_track([(3, 0.8), (3, 3), (2, 1)]), CutSettings(), vad=True)

    assert len(windows) == 1
    assert [round(piece.length / SECOND, 1) for piece in windows[0].pieces] == [7.2, 2.8]
    assert speech == windows[0].speech == pytest.approx(8 * SECOND, abs=2 * FRAME)
    assert windows[0].speech_end == windows[0].samples - 6_400


def test_ordinary_speech_fills_windows_near_the_target() -> None:
    random = np.random.default_rng(7)
    talk = [(random.exponential(2.5) + 0.3, random.exponential(0.45) + 0.1) for _ in range(1000)]

    windows, _ = cut_track(spoken_track(talk), CutSettings(), vad=True)

    lengths = [window.seconds for window in windows]
    assert sum(lengths) / len(lengths) > 26.5
    assert sum(window.overlap_after > 0 for window in windows) < len(windows) / 10
    assert min(lengths) > 15


@pytest.mark.parametrize("seconds", [30.5, 31, 45, 57, 59, 61, 88.5, 121])
@pytest.mark.parametrize("vad", [True, False])
def test_a_long_stretch_is_cut_evenly(seconds: float, vad: bool) -> None:
    windows, _ = cut_track(spoken_track([(seconds, 0)]), CutSettings(), vad=vad)

    lengths = [window.seconds for window in windows]
    assert len(windows) <= seconds // 25 + 1
    assert max(lengths) - min(lengths) < 5


def test_a_stretch_without_silence_is_cut_where_speech_is_least_likely() -> None:
    frames = round(50 * 31.25)
    probabilities = np.full(frames, 0.99, np.float32)
    probabilities[800:810] = 0.6  # below every other frame, but no silence; at 25.8 s
    track = Track(frames * FRAME, probabilities, np.full(frames, 60, np.uint8))

    for vad in (True, False):
        windows, _ = cut_track(track, CutSettings(), vad=vad)

        assert len(windows) == 2
        middle = windows[1].pieces[0].file_start + OVERLAP // 2
        assert 800 * FRAME <= middle <= 810 * FRAME


def test_between_equally_likely_points_the_quietest_is_cut() -> None:
    frames = round(50 * 31.25)
    levels = np.full(frames, 60, np.uint8)
    levels[745:755] = 30
    track = Track(frames * FRAME, np.full(frames, 0.999, np.float32), levels)

    windows, _ = cut_track(track, CutSettings(), vad=True)

    assert 745 * FRAME <= windows[1].pieces[0].file_start + OVERLAP // 2 <= 755 * FRAME


def test_a_silence_is_preferred_to_a_full_window() -> None:
    windows, _ = cut_track(spoken_track([(24, 0.6), (24, 1)]), CutSettings(), vad=True)

    assert [window.overlap_after for window in windows] == [0, 0]
    assert windows[0].seconds == pytest.approx(24.3, abs=0.1)


@pytest.mark.parametrize("vad", [True, False])
def test_nothing_gives_no_windows(vad: bool) -> None:
    empty = Track(0, np.zeros(0, np.float32), np.zeros(0, np.uint8))

    assert cut_track(empty, CutSettings(), vad=vad) == ((), 0)


def test_silence_gives_no_windows_but_without_vad_it_is_covered() -> None:
    silence = spoken_track([(0, 70)])

    assert cut_track(silence, CutSettings(), vad=True) == ((), 0)
    windows, speech = cut_track(silence, CutSettings(), vad=False)
    assert len(windows) == 3
    assert speech == 0
    assert [(window.speech, window.speech_end) for window in windows] == [(0, 0)] * 3


@pytest.mark.parametrize("samples", [1, 100, 512, 513])
def test_less_than_a_frame_or_two(samples: int) -> None:
    frames = -(-samples // FRAME)
    track = Track(samples, np.ones(frames, np.float32), np.zeros(frames, np.uint8))

    for vad in (True, False):
        windows, speech = cut_track(track, CutSettings(), vad=vad)

        assert speech == samples
        assert [(window.samples, window.speech, window.speech_end) for window in windows] == [(samples,) * 3]


@settings(max_examples=40, deadline=None)
@given(TRACKS, st.booleans())
def test_spans_tell_where_in_the_window_speech_is(track: Track, vad: bool) -> None:
    windows, _ = cut_track(track, CutSettings(), vad=vad)

    spoken = speech_of(track)
    for window in windows:
        laid = np.concatenate([spoken[piece.file_start : piece.file_start + piece.length] for piece in window.pieces])
        told = np.zeros(window.samples, np.bool_)
        for start, end in window.spans:
            assert 0 <= start < end <= window.samples
            assert not told[start:end].any()
            told[start:end] = True
        np.testing.assert_array_equal(told, laid)
        assert list(window.spans) == sorted(window.spans)


@settings(max_examples=40, deadline=None)
@given(TRACKS, st.booleans())
def test_levels_change_gains_and_nothing_else(track: Track, vad: bool) -> None:
    raised, plain = (cut_track(track, CutSettings(), vad=vad, level=level) for level in (True, False))

    assert all(window.gains == () for window in plain[0])
    assert tuple(replace(window, gains=()) for window in raised[0]) == plain[0]
    assert raised[1] == plain[1]
    for window in raised[0]:
        assert len(window.gains) in {0, -(-window.samples // GAIN_STEP)}
        assert all(0 <= gain <= 45 for gain in window.gains)
        assert window.gains == () or max(window.gains) > 0


@pytest.mark.parametrize("vad", [True, False])
def test_gains_lie_upon_the_pieces_that_they_raise(vad: bool) -> None:
    # Given loud speech for 5 s, silence for 4 s, and quiet speech for 5 s
    pattern = [("silence", 30), ("speech", 156), ("silence", 125), ("speech", 156), ("silence", 30)]
    levels = np.repeat([5, 70, 5, 38, 5], [frames for _, frames in pattern]).astype(np.uint8)
    # When it is cut
    (window,), _ = cut_track(made(pattern, 0, levels=levels), CutSettings(), vad=vad)
    # Then the first span is as it is, and the second brought to the level of -22 dB
    (_, loud_end), (quiet, quiet_end) = window.spans
    middles = np.arange(len(window.gains)) * GAIN_STEP + GAIN_STEP // 2
    gains = np.asarray(window.gains)
    assert (quiet - loud_end) / SECOND == pytest.approx(0.8 if vad else 4.0, abs=0.05)
    assert gains[middles < loud_end].max() == 0
    assert set(gains[(middles > quiet + SECOND // 4) & (middles < quiet_end - SECOND // 4)]) == {68 - 38}
    if not vad:
        assert gains[(middles > loud_end + SECOND) & (middles < quiet - SECOND)].max() == 0


def test_speech_that_is_loud_enough_has_no_gains() -> None:
    levels = np.full(round(20 * 31.25), 65, np.uint8)

    windows, _ = cut_track(made([("speech", len(levels))], 0, levels=levels), CutSettings(), vad=True)

    assert [window.gains for window in windows] == [()]


def test_a_job_that_asks_for_nothing_is_cut_as_ever() -> None:
    assert tuned(CutSettings(), Tuning()) == CutSettings()
    assert tuned(CutSettings(longest=20.0), Tuning()) == CutSettings(longest=20.0)


def test_a_job_says_what_silence_is() -> None:
    # Given speech with pauses of 0.8 s and 3 s
    track = spoken_track([(3, 0.8), (3, 3), (2, 1)])

    # When shorter silences are left out, with less of them kept
    windows, _ = cut_track(track, tuned(CutSettings(), Tuning(vad=VadTuning(min_silence=0.5, pad=0.1))), vad=True)
    # Then the shorter pause goes as well
    assert [len(window.pieces) for window in windows] == [3]

    # When so much is kept that the padding of both sides fills the longer one, then it stays, whole
    windows, _ = cut_track(track, tuned(CutSettings(), Tuning(vad=VadTuning(min_silence=0.5, pad=2.0))), vad=True)
    assert [len(window.pieces) for window in windows] == [1]


def test_a_job_says_from_which_probability_on_it_is_speech() -> None:
    settings = tuned(CutSettings(), Tuning(vad=VadTuning(threshold=0.6)))
    assert settings.speech == 0.6
    assert settings.silence == pytest.approx(0.45)
    assert tuned(CutSettings(), Tuning(vad=VadTuning(threshold=0.1))).silence == 0.01

    track = made([("silence", 40), ("doubt", 40), ("speech", 40), ("silence", 40)], seed=0)
    found = [cut_track(track, tuned(CutSettings(), Tuning(vad=VadTuning(at))), vad=True)[1] for at in (0.2, 0.5, 0.79)]
    assert found[0] > found[2] == 40 * FRAME


def test_shorter_windows_come_near_a_target_in_proportion() -> None:
    settings = tuned(CutSettings(), Tuning(max_window=15.0))

    assert (settings.longest, settings.target) == (15.0, 14.0)


def test_the_version_names_every_setting() -> None:
    assert CutSettings().version != CutSettings(pause=1.1).version
    assert CutSettings().version == CutSettings().version
