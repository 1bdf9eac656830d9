# SPDX-License-Identifier: Apache-2.0
"""Windows, what was transcribed of them, and the transcript that they come to, in seconds."""

from __future__ import annotations

from pathlib import Path

from sqscribe.transcript import Transcript
from stages.assemble import assemble
from stages.values import SAMPLE_RATE, Audio, Piece, RawSegment, RawWord, Voice, Window, WindowResult, Windows

__all__ = ["Timed", "assembled", "job", "plain", "result", "timed", "window", "words"]

#: A word's text without its blank, its start and its end.
Timed = tuple[str, float, float]


def words(*timed: Timed) -> RawSegment:
    """A segment with words."""
    made = tuple(RawWord(f" {text}", start, end, 0.9) for text, start, end in timed)
    return RawSegment(made[0].start, made[-1].end, "".join(word.word for word in made), made)


def plain(text: str, start: float, end: float) -> RawSegment:
    """A segment without words."""
    return RawSegment(start, end, f" {text}", None)


def result(
    index: int, *segments: RawSegment, language: str = "en", language_probability: float | None = None
) -> WindowResult:
    """What was transcribed of a window."""
    return WindowResult(index, language, language_probability, segments, -0.25, 1.5, 0.01, 0.0)


def window(index: int, *pieces: tuple[float, float], before: float = 0, after: float = 0) -> Window:
    """A window of pieces given by their start and end in the file, in seconds."""
    laid: list[Piece] = []
    length = 0
    for start, end in pieces:
        laid.append(Piece(length, round(start * SAMPLE_RATE), round((end - start) * SAMPLE_RATE)))
        length += laid[-1].length
    return Window(index, tuple(laid), length, length, round(before * SAMPLE_RATE), round(after * SAMPLE_RATE))


def job(*windows: Window, start: float = 0.0, channel: int | None = None, seconds: float = 100.0) -> Windows:
    """A recording that was cut into these windows."""
    samples = round(seconds * SAMPLE_RATE)
    apart = () if channel is None else (Voice(0, samples, channel=channel),)
    audio = Audio(Path("audio.pcm"), samples, start, "0" * 64, apart=apart)
    return Windows(audio, windows, seconds, "cut")


def assembled(windows: Windows, *results: WindowResult) -> Transcript:
    """The transcript, in English."""
    return assemble(windows, {one.index: one for one in results}, "en", 0.9)


def timed(transcript: Transcript) -> list[Timed]:
    """Its words without blanks, with their times."""
    return [
        (word.word.strip(), word.start, word.end) for segment in transcript.segments for word in segment.words or ()
    ]
