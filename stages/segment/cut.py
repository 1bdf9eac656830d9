# SPDX-License-Identifier: Apache-2.0
"""The cutter: packs speech into windows, cutting where it hurts least.

What is kept of the recording (all of it, or speech with some silence around it) is laid end to end on a tape. The
tape may be cut at silences, which costs little or nothing; in a longer stretch without one also at its quietest
points, which costs more, and then the two windows overlap. Which of these points are used is settled for the
whole tape at once by dynamic programming, as lines of a paragraph are broken (Knuth and Plass, "Breaking Paragraphs
into Lines", 1981): windows come out near the target, evenly filled, without crumbs at the end.

Everything is decided on whole numbers, so that float noise of another machine seldom moves a cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.segment.level import speech_gains
from stages.segment.vad import FRAME, Track
from stages.values import GAIN_STEP, SAMPLE_RATE, Piece, Window

__all__ = ["CutSettings", "cut_track"]

#: Changes with every change of the rules below: checkpoints must not mix two cuts.
_VERSION = 2
#: Frames on each side that a possible cut's probability and level are averaged over (0.22 s in all).
_SMOOTH = 3
#: Frames of which the best is a possible cut, where there is no silence (1 s).
_BIN = 31
#: Seconds without a silence to cut at, from which on a cut with overlap may be made to fill the window before.
_FLUENT = 8.0
# What is weighed against each other: a window costs `_WINDOW`, as it costs the engine, and the square of its relative
# distance from the target; a cut costs nothing at a second of silence, `_PAUSE` at the shortest pause; with overlap
# `_OVERLAP`, and up to `_SPEECH` and `_LEVEL` more by how likely it is speech and how loud.
_WINDOW = 0.5
_PAUSE = 0.05
_OVERLAP = 0.3
_SPEECH = 0.3
_LEVEL = 0.1

_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CutSettings:
    """Lengths (seconds) and thresholds of the cut.

    Attributes:
        target: Length that windows come near to.
        longest: Length that no window exceeds; Whisper's encoder takes 30 s.
        pause: Shorter pauses stay in, longer ones are left out.
        padding: Silence kept before and after speech; at most half of `pause`.
        quiet: A pause of this length may be cut without overlap; behind a shorter one first words are lost
            (docs/quality.md).
        overlap: What two windows share where speech had to be cut.
        speech: Probability from which on a frame is speech.
        silence: Probability below which it is silence; between the two it is what the frame before was.
    """

    target: float = 28.0
    longest: float = 30.0
    pause: float = 1.0
    padding: float = 0.4
    quiet: float = 0.35
    overlap: float = 1.0
    speech: float = 0.5
    silence: float = 0.35

    @property
    def version(self) -> str:
        """Name, version and settings of the cutter, as one word."""
        return f"cut{_VERSION}:" + ",".join(f"{name}={value:g}" for name, value in asdict(self).items())


class _Spans(NamedTuple):
    """Stretches of the recording in samples, in order, apart from one another."""

    starts: _Integers
    ends: _Integers


class _Tape(NamedTuple):
    """What is kept of the recording, laid end to end; all in samples, in order.

    Attributes:
        starts: Where each stretch begins in the recording.
        ends: Where it ends there.
        places: Where it begins on the tape; one more for the tape's end.
    """

    starts: _Integers
    ends: _Integers
    places: _Integers

    @classmethod
    def of(cls, kept: _Spans) -> _Tape:
        return cls(kept.starts, kept.ends, np.concatenate([[0], np.cumsum(kept.ends - kept.starts)]))

    def stretch(self, place: int) -> int:
        """Which stretch lies at this place of the tape (the later one at a border)."""
        return int(np.searchsorted(self.places, place, side="right")) - 1


class _Cuts(NamedTuple):
    """Points where the tape may be cut, in order; the first and the last are its ends.

    Attributes:
        at: Samples on the tape.
        cost: Of cutting there.
        reach: Samples by which the windows on both sides go beyond the point: half an overlap, or 0 at a silence.
    """

    at: _Integers
    cost: npt.NDArray[np.float64]
    reach: _Integers


def cut_track(track: Track, settings: CutSettings, *, vad: bool, level: bool = True) -> tuple[tuple[Window, ...], int]:
    """Cuts a recording into windows.

    With `vad`, borders of pieces lie in silence or in an overlap, and silence is left out. Without, the windows cover
    every sample and always overlap: whoever turns the detector off does not trust its silences.

    Returns:
        The windows, none where there is nothing to decode, and the samples of speech in the recording.
    """
    probabilities = (track.probabilities * 256).clip(0, 255).astype(np.uint8)
    speech, sure = _speech(probabilities, track.samples, settings)
    if vad:
        kept, pauses = _kept(speech, sure, track.samples, settings), speech
    else:
        kept, pauses = _Spans(np.zeros(1, np.int64), np.full(1, track.samples)), _Spans(*np.zeros((2, 0), np.int64))
    if not track.samples or not len(kept.starts):
        return (), 0
    tape = _Tape.of(kept)
    cuts = _silent_cuts(pauses, tape, settings)
    cuts = _with_forced_cuts(cuts, tape, _restlessness(probabilities, track.levels), settings)
    chosen = _partition(cuts, settings)
    gains = speech_gains(track.levels, _mask(speech, len(track.levels))) if level else np.zeros(0, np.float32)
    windows = tuple(_window(index, cuts, ends, tape, speech, gains) for index, ends in enumerate(pairwise(chosen)))
    return windows, int((speech.ends - speech.starts).sum())


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _speech(probabilities: npt.NDArray[np.uint8], samples: int, settings: CutSettings) -> tuple[_Spans, _Integers]:
    """Runs of speech, by hysteresis, and how long each pause between two of them was certainly silence."""
    high = probabilities >= round(settings.speech * 256)
    low = probabilities < round(settings.silence * 256)
    decided = np.where(high | low, np.arange(len(high), dtype=np.int32), -1)
    last_decided = np.maximum.accumulate(decided)
    state = np.concatenate([[False], high[last_decided] & (last_decided >= 0), [False]])
    edges = np.flatnonzero(state[1:] != state[:-1])
    starts, ends = edges[::2], edges[1::2]
    lows = np.flatnonzero(low)
    sure = lows[np.searchsorted(lows, starts[1:]) - 1] - ends[:-1] if len(starts) else starts
    return _Spans(starts * FRAME, np.minimum(ends * FRAME, samples)), sure * FRAME


def _kept(speech: _Spans, sure: _Integers, samples: int, settings: CutSettings) -> _Spans:
    """What is decoded: speech, its shorter pauses, and some silence on both sides."""
    if not len(speech.starts):
        return speech
    apart = np.flatnonzero(sure >= _samples(settings.pause))
    padding = _samples(settings.padding)
    starts = np.concatenate([speech.starts[:1], speech.starts[apart + 1]]) - padding
    ends = np.concatenate([speech.ends[apart], speech.ends[-1:]]) + padding
    return _Spans(np.maximum(starts, 0), np.minimum(ends, samples))


def _silent_cuts(speech: _Spans, tape: _Tape, settings: CutSettings) -> _Cuts:
    """The borders of what is kept, and the middles of the longer pauses inside."""
    lengths = speech.starts[1:] - speech.ends[:-1]
    middles = speech.ends[:-1] + lengths // 2
    home = np.searchsorted(tape.starts, middles, side="right") - 1
    inside = (middles < tape.ends[home]) & (lengths >= _samples(settings.quiet))
    pauses = (middles - tape.starts[home] + tape.places[home])[inside]
    shortness = 1 - np.minimum(lengths[inside] / _samples(settings.pause), 1)
    at = np.concatenate([tape.places, pauses])
    cost = np.concatenate([np.zeros(len(tape.places)), _PAUSE * shortness])
    order = np.argsort(at)
    return _Cuts(at[order], cost[order], np.zeros(len(at), np.int64))


def _restlessness(probabilities: npt.NDArray[np.uint8], levels: npt.NDArray[np.uint8]) -> _Integers:
    """How bad a cut in each frame is: smoothed probability of speech, in 32 steps, then (lower byte) smoothed level.

    The detector is near 1 all through fluent speech, so its last digits say less than the level does.
    """
    width = 2 * _SMOOTH + 1

    def smooth(values: npt.NDArray[np.uint8]) -> _Integers:
        total = np.cumsum(np.pad(values.astype(np.int64), (_SMOOTH + 1, _SMOOTH), mode="edge"))
        return np.asarray((total[width:] - total[:-width]) // width)

    return (smooth(probabilities) // 8 << 8) + smooth(levels)


def _with_forced_cuts(cuts: _Cuts, tape: _Tape, restlessness: _Integers, settings: CutSettings) -> _Cuts:
    """Adds the quietest point of every second of the longer stretches without a silence."""
    overlap = _samples(settings.overlap)
    added: list[_Integers] = []
    costs: list[npt.NDArray[np.float64]] = []
    for index in np.flatnonzero(np.diff(cuts.at) > _samples(min(_FLUENT, settings.longest))):
        home = tape.stretch(int(cuts.at[index]))
        shift = int(tape.starts[home] - tape.places[home])
        # A whole overlap away from the ends of the stretch, so that no two overlaps meet.
        first = -(-(int(cuts.at[index]) + shift + overlap) // FRAME)
        last = (int(cuts.at[index + 1]) + shift - overlap) // FRAME
        values = restlessness[first:last]
        bins = np.pad(values, (0, -len(values) % _BIN), constant_values=np.iinfo(np.int64).max).reshape(-1, _BIN)
        best = bins.argmin(axis=1)
        added.append((first + np.arange(len(bins)) * _BIN + best) * FRAME + FRAME // 2 - shift)
        steps, levels = np.divmod(bins.min(axis=1), 256)
        costs.append(_OVERLAP + _SPEECH * steps / 32 + _LEVEL * levels / 96)
    at = np.concatenate([cuts.at, *added])
    cost = np.concatenate([cuts.cost, *costs])
    reach = np.concatenate([cuts.reach, np.full(len(at) - len(cuts.at), overlap // 2)])
    order = np.argsort(at)
    return _Cuts(at[order], cost[order], reach[order])


def _partition(cuts: _Cuts, settings: CutSettings) -> list[int]:
    """Chooses the cuts whose costs, with those of the windows between them, are least in sum."""
    target, longest = _samples(settings.target), _samples(settings.longest)
    begins, finishes = cuts.at - cuts.reach, cuts.at + cuts.reach
    # For each cut, which ones may be the one before it: near enough for one window; beyond the reach of both.
    first = np.searchsorted(begins, finishes - longest)
    last = np.minimum(np.searchsorted(cuts.at, cuts.at - 2 * cuts.reach, side="right"), np.arange(len(cuts.at)))
    best = np.zeros(len(cuts.at))
    before = np.zeros(len(cuts.at), np.int64)
    for index in range(1, len(cuts.at)):
        span = slice(first[index], last[index])
        totals = best[span] + _WINDOW + (1 - (finishes[index] - begins[span]) / target) ** 2
        choice = int(totals.argmin())
        best[index] = totals[choice] + cuts.cost[index]
        before[index] = first[index] + choice
    chosen = [len(cuts.at) - 1]
    while chosen[-1]:
        chosen.append(int(before[chosen[-1]]))
    return chosen[::-1]


def _mask(speech: _Spans, frames: int) -> npt.NDArray[np.bool_]:
    """Which frames are speech."""
    steps = np.zeros(frames + 1, np.int8)
    steps[speech.starts // FRAME] += 1
    steps[-(-speech.ends // FRAME)] -= 1
    return np.cumsum(steps[:frames]).astype(np.bool_)


def _window(
    index: int, cuts: _Cuts, ends: tuple[int, int], tape: _Tape, speech: _Spans, gains: npt.NDArray[np.float32]
) -> Window:
    """The window between two cuts, put together from the stretches of the tape."""
    left, right = ends
    begin, finish = int(cuts.at[left] - cuts.reach[left]), int(cuts.at[right] + cuts.reach[right])
    pieces: list[Piece] = []
    spoken = 0
    spans: list[tuple[int, int]] = []
    place, home = begin, tape.stretch(begin)
    while place < finish:
        stop = min(finish, int(tape.places[home + 1]))
        start = int(tape.starts[home]) + place - int(tape.places[home])
        end = start + stop - place
        runs = slice(*np.searchsorted(speech.ends, [start], side="right"), *np.searchsorted(speech.starts, [end]))
        run_starts, run_ends = speech.starts[runs].clip(min=start), speech.ends[runs].clip(max=end)
        if len(run_ends):
            spoken += int((run_ends - run_starts).sum())
            shift = place - begin - start
            spans += [
                (first + shift, last + shift)
                for first, last in zip(run_starts.tolist(), run_ends.tolist(), strict=True)
            ]
        pieces.append(Piece(place - begin, start, end - start))
        place, home = stop, home + 1
    return Window(
        index,
        tuple(pieces),
        spoken,
        spans[-1][1] if spans else 0,
        2 * int(cuts.reach[left]),
        2 * int(cuts.reach[right]),
        tuple(spans),
        _steps(pieces, gains),
    )


def _steps(pieces: Sequence[Piece], gains: npt.NDArray[np.float32]) -> tuple[int, ...]:
    """`Window.gains`: those of the frames in which the middles of the window's steps lie."""
    if not gains.any():
        return ()
    samples = pieces[-1].window_start + pieces[-1].length
    middles = np.minimum(np.arange(-(-samples // GAIN_STEP)) * GAIN_STEP + GAIN_STEP // 2, samples - 1)
    begins = np.array([piece.window_start for piece in pieces])
    shifts = np.array([piece.file_start - piece.window_start for piece in pieces])
    places = middles + shifts[np.searchsorted(begins, middles, side="right") - 1]
    steps = np.rint(gains[places // FRAME]).astype(int)
    return tuple(steps.tolist()) if steps.any() else ()
