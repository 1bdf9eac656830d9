# SPDX-License-Identifier: Apache-2.0
"""How much of a window's speech its words account for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stages.values import SAMPLE_RATE, RawSegment, RawWord, Window

__all__ = ["Hole", "leaves_speech_out", "missing_speech"]

#: Seconds of speech that a word accounts for: at least so many, and so many a character (a slow speaker's pace).
_SECONDS_A_WORD, _SECONDS_A_CHARACTER = 1.2, 0.14
#: Speech without a word that is no more than this, in seconds, is hesitation, breath or a border that is a little off.
_HESITATION = 1.0
#: One stretch of speech without words that is longer than the first, or all of them together longer than the second,
#: in seconds, was not transcribed.
_HOLE, _HOLES = 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch of the window that holds speech that no word accounts for, in seconds of the window.

    Attributes:
        start: Where the word before it begins; 0 at the window's start.
        end: Where the word behind it begins; the window's length at its end.
        seconds: Of speech in it beyond what the word in it may take.
    """

    start: float
    end: float
    seconds: float


def missing_speech(items: Sequence[RawWord | RawSegment], window: Window) -> tuple[Hole, ...]:
    """The stretches of speech that no words account for, down to a second each.

    A text that lacks a sentence still spreads its words over the whole window: one of them, beside the place, takes
    many seconds. So each word is held against the speech between its own start and the next one's.

    Args:
        items: Words in order, or segments where a model cannot align.
        window: With the spans of its speech.
    """
    length = window.seconds
    starts = [min(max(item.start, 0.0), length) for item in items]
    borders = [0.0, *starts[1:], length] if items else [0.0, length]
    allowed = [_allowed(item) for item in items] or [0.0]
    holes = []
    for (start, end), most in zip(pairwise(borders), allowed, strict=True):
        seconds = _speech(window, start, end) - most
        if seconds > _HESITATION:
            holes.append(Hole(start, end, seconds))
    return tuple(holes)


def leaves_speech_out(holes: Sequence[Hole]) -> bool:
    """Whether so much is missing that something was said there: one long stretch, or several."""
    return max((hole.seconds for hole in holes), default=0.0) > _HOLE or sum(hole.seconds for hole in holes) > _HOLES


def _allowed(item: RawWord | RawSegment) -> float:
    """Seconds of speech that a word, or a segment, accounts for."""
    if isinstance(item, RawWord):
        return max(_SECONDS_A_WORD, _SECONDS_A_CHARACTER * len(item.word.strip()))
    return _SECONDS_A_WORD + max(_SECONDS_A_CHARACTER * len(item.text.strip()), 0.0)


def _speech(window: Window, start: float, end: float) -> float:
    """Seconds of speech between two times of the window."""
    first, last = start * SAMPLE_RATE, end * SAMPLE_RATE
    return sum(max(0.0, min(stop, last) - max(begin, first)) for begin, stop in window.spans) / SAMPLE_RATE
