# SPDX-License-Identifier: Apache-2.0
"""Segments from the timestamp tokens that a model wrote between its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["TimedTokens", "parse_timestamps"]

#: Seconds between two timestamp tokens.
_STEP = 0.02


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
