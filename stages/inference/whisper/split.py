# SPDX-License-Identifier: Apache-2.0
"""Windows cut in two: where, and what each part has of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stages.inference.judge.coverage import Hole
from stages.inference.whisper.audio import FRAME_SECONDS, smoothed
from stages.values import GAIN_STEP, SAMPLE_RATE, Piece, Window

__all__ = ["cut_window", "edge_of_hole", "part_of", "quietest_point"]

#: Frames of 10 ms over which the level is smoothed when a pause is looked for: a plosive is no pause.
_SMOOTHING = 25
#: Parts are at least so long, and a pause between two spans of speech is at least so long, in samples.
_SHORTEST, _PAUSE = SAMPLE_RATE // 2, SAMPLE_RATE // 8


def cut_window(window: Window, cut: int) -> tuple[Window, Window]:
    """Two windows out of one, the second of which begins at sample `cut`."""
    return part_of(window, 0, cut), part_of(window, cut, window.samples)


def quietest_point(loudness: npt.NDArray[np.float32], samples: int) -> int:
    """The sample in the middle half of the audio around which it is most quiet, in a pause in the middle of it.

    Args:
        loudness: Level of each 10 ms in dB.
        samples: Length of the audio.
    """
    frames = len(loudness)
    return _quietest(loudness, frames // 4, max(frames // 4 + 1, frames * 3 // 4), samples)


def edge_of_hole(loudness: npt.NDArray[np.float32], window: Window, holes: Sequence[Hole]) -> int:
    """The sample at which the largest stretch of speech that was left out is parted from what was transcribed.

    A sentence that was left out lies behind the word whose place it is counted to, so the cut is the first pause
    behind that word; at the start of a window, where no text comes before, it is the last pause before the next word.

    Args:
        loudness: Level of each 10 ms in dB.
        window: With the spans of its speech.
        holes: At least one.
    """
    hole = max(holes, key=lambda each: each.seconds)
    first, last = _inside(hole.start * SAMPLE_RATE, window), _inside(hole.end * SAMPLE_RATE, window)
    pauses = [(end, start) for (_, end), (start, _) in pairwise(window.spans) if start - end >= _PAUSE]
    inside = [(end + start) // 2 for end, start in pauses if first < (end + start) // 2 < last]
    if inside:
        return inside[-1] if hole.start == 0.0 else inside[0]
    frame = int(FRAME_SECONDS * SAMPLE_RATE)
    return _quietest(loudness, first // frame, max(first // frame + 1, last // frame), window.samples)


def _inside(place: float, window: Window) -> int:
    """A place at least the shortest part away from both ends."""
    return round(min(max(place, _SHORTEST), max(window.samples - _SHORTEST, _SHORTEST)))


def _quietest(loudness: npt.NDArray[np.float32], first: int, last: int, samples: int) -> int:
    smooth = smoothed(loudness, _SMOOTHING)
    stretch = smooth[first:last]
    if not len(stretch):
        return samples // 2
    # Pauses are often digital silence: among equals the one nearest to the middle, so that both parts are short.
    quiet = np.flatnonzero(stretch <= stretch.min() + 1.0) + first
    frame = int(FRAME_SECONDS * SAMPLE_RATE)
    return min(samples, int(quiet[np.argmin(np.abs(quiet - (first + last) / 2))]) * frame)


def part_of(window: Window, start: int, end: int) -> Window:
    """What lies between two samples of a window, as a window."""
    pieces = []
    for piece in window.pieces:
        first, last = max(piece.window_start, start), min(piece.window_start + piece.length, end)
        if first < last:
            pieces.append(Piece(first - start, piece.file_start + first - piece.window_start, last - first))
    return replace(
        window,
        pieces=tuple(pieces),
        speech=round(window.speech * (end - start) / window.samples),
        speech_end=min(max(window.speech_end - start, 0), end - start),
        spans=tuple(
            (max(first, start) - start, min(last, end) - start)
            for first, last in window.spans
            if first < end and last > start
        ),
        gains=_gains(window.gains, start, end),
        overlap_before=window.overlap_before if start == 0 else 0,
        overlap_after=window.overlap_after if end == window.samples else 0,
    )


def _gains(gains: tuple[int, ...], start: int, end: int) -> tuple[int, ...]:
    """`Window.gains` of the part, whose steps lie between those of the whole."""
    if not gains:
        return ()
    middles = np.arange(-(-(end - start) // GAIN_STEP)) * GAIN_STEP + GAIN_STEP // 2 + start
    own = np.rint(np.interp(middles, np.arange(len(gains)) * GAIN_STEP + GAIN_STEP // 2, gains)).astype(int)
    return tuple(own.tolist()) if own.any() else ()
