# SPDX-License-Identifier: Apache-2.0
"""Times as subtitle formats write them. All arithmetic is in whole milliseconds, so nothing carries over to 60.000."""

from __future__ import annotations

__all__ = ["milliseconds", "span", "srt_time", "vtt_time"]


def milliseconds(seconds: float) -> int:
    """The nearest whole millisecond, never below 0."""
    return max(0, round(seconds * 1000))


def span(start: float, end: float) -> tuple[int, int]:
    """Both ends in milliseconds; at least one apart, because a WebVTT cue must end after it starts."""
    first = milliseconds(start)
    return first, max(first + 1, milliseconds(end))


def srt_time(ms: int) -> str:
    """`HH:MM:SS,mmm`; the hours grow beyond 99 where needed."""
    seconds, rest = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{rest:03}"


def vtt_time(ms: int) -> str:
    """`MM:SS.mmm`, or `HH:MM:SS.mmm` from one hour on."""
    seconds, rest = divmod(ms, 1000)
    hours = f"{seconds // 3600:02}:" if seconds >= 3600 else ""
    return f"{hours}{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"
