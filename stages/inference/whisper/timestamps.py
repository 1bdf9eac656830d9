# SPDX-License-Identifier: Apache-2.0
"""Segments from the timestamp tokens that a model wrote between its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.values import SAMPLE_RATE, Window

__all__ = ["TimedTokens", "parse_timestamps", "rest_start"]

#: Seconds between two timestamp tokens.
_STEP = 0.02
#: Seconds that a window must have advanced, and of speech that must be left, for its rest to be decoded by itself.
_ADVANCE, _LEFT = 1.0, 1.0


@dataclass(frozen=True, slots=True)
class TimedTokens:
    """Tokens between two timestamps, in seconds of the window."""

    start: float
    end: float
    tokens: tuple[int, ...]


def parse_timestamps(tokens: Sequence[int], first_timestamp: int, eot: int, seconds: float) -> list[TimedTokens]:
    """Cuts generated tokens at their timestamps.

    A segment begins at the timestamp before it, else where the one before ended, and ends at the timestamp behind
    it; the last one, when it is unfinished, ends with the window. Times never run backwards or past the window.

    Args:
        tokens: As generated.
        first_timestamp: Id of 0.00 s.
        eot: Id of end-of-text; text ids lie below.
        seconds: Length of the window.
    """
    segments: list[TimedTokens] = []
    text: list[int] = []
    start = 0.0
    for token in tokens:
        if token < eot:
            text.append(token)
        elif token >= first_timestamp:
            time = min(max((token - first_timestamp) * _STEP, start), seconds)
            if text:
                segments.append(TimedTokens(start, time, tuple(text)))
                text = []
            start = time
    if text:
        segments.append(TimedTokens(start, max(seconds, start), tuple(text)))
    return segments


def rest_start(tokens: Sequence[int], first_timestamp: int, eot: int, window: Window) -> float | None:
    """Where the model wants to be asked again, in seconds of the window; None when it has told all.

    Whisper ends a window at the last whole segment, and begins one that it cannot finish anew in the next window
    (transcribe.py of openai-whisper, `seek`). A closing timestamp with speech behind it is taken for the same.

    Args:
        tokens: As generated.
        first_timestamp: Id of 0.00 s.
        eot: Id of end-of-text; text ids lie below.
        window: With the spans of its speech.
    """
    last = next((place for place in reversed(range(len(tokens))) if tokens[place] >= first_timestamp), None)
    if last is None or not any(token < eot for token in tokens[:last]):
        return None
    seconds = (tokens[last] - first_timestamp) * _STEP
    left = sum(max(0.0, end - max(start, seconds * SAMPLE_RATE)) for start, end in window.spans) / SAMPLE_RATE
    return seconds if seconds >= _ADVANCE and left > _LEFT else None
