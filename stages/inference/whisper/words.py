# SPDX-License-Identifier: Apache-2.0
"""Words with their times, from the alignment of text tokens with the audio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.inference.whisper.audio import FRAME_SECONDS, smoothed
from stages.values import RawWord

__all__ = ["align_words", "trim_to_sound"]

#: Seconds between two positions of the encoder's output.
POSITION_SECONDS = 0.02
#: Marks that belong to the word behind them, and to the word before them (openai-whisper's lists).
_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - the marks of other scripts
#: Frames of 10 ms over which the level is smoothed.
_SMOOTHING = 3
#: Sound is what is no more than so many dB below the window's loud parts, ...
_SPEECH_RANGE = 35.0
#: ... and above its quiet parts by this share of the distance to the loud ones.
_FLOOR_SHARE = 0.25
#: Frames of 10 ms: shorter gaps belong to the words (the closure of a plosive takes 0.1 s).
_MIN_PAUSE = 15


def align_words(
    split: Sequence[tuple[str, int]],
    alignment: Sequence[tuple[int, int]],
    probabilities: Sequence[float],
    seconds: float,
) -> list[RawWord]:
    """Words in seconds of the window.

    A word begins where the alignment path first reaches its first token, and ends where it reaches the next word's.

    Args:
        split: Words and their numbers of tokens, in order.
        alignment: Path of (token index, encoder position), both rising; the index behind the last token stands for
            end-of-text. Empty for audio too short to align.
        probabilities: Of each text token.
        seconds: Length of the window.
    """
    tokens = sum(count for _, count in split)
    path = np.asarray(alignment, dtype=np.int64).reshape(-1, 2)
    reached = np.searchsorted(path[:, 0], np.arange(tokens + 1))
    positions = np.append(path[:, 1], round(seconds / POSITION_SECONDS))
    times = np.minimum(positions[reached] * POSITION_SECONDS, seconds)
    words = []
    first = 0
    for text, count in split:
        last = first + count
        own = probabilities[first:last]
        words.append(RawWord(text, float(times[first]), float(times[last]), sum(own) / len(own) if own else 0.0))
        first = last
    return _merge_marks(words)


def _merge_marks(words: Sequence[RawWord]) -> list[RawWord]:
    """Joins punctuation marks to the words that they belong to; a mark takes no time of its own."""
    merged: list[RawWord] = []
    opening = ""
    for word in words:
        mark = word.word.strip()
        if mark and word.word.startswith(" ") and mark in _PREPENDED:
            opening += word.word
        elif merged and not opening and word.word in _APPENDED:
            last = merged[-1]
            merged[-1] = RawWord(last.word + word.word, last.start, last.end, last.probability)
        else:
            merged.append(RawWord(opening + word.word, word.start, word.end, word.probability))
            opening = ""
    if opening and merged:
        last = merged[-1]
        merged[-1] = RawWord(last.word + opening, last.start, last.end, last.probability)
    return [word for word in merged if word.word.strip()]


def trim_to_sound(words: Sequence[RawWord], loudness: npt.NDArray[np.float32]) -> list[RawWord]:
    """Takes the pauses off the words' ends.

    The alignment path crosses a pause at any time it likes, mostly at once, so that the first word behind a pause
    begins far too early, and now and then a word before it ends too late. A word that spans a pause keeps its longest
    stretch of sound.

    Args:
        words: In seconds of the window.
        loudness: Level of each 10 ms in dB.
    """
    if not len(loudness):
        return list(words)
    sound = _sound(loudness)
    trimmed = []
    for word in words:
        first, last = round(word.start / FRAME_SECONDS), round(word.end / FRAME_SECONDS)
        stretch = _longest_stretch(sound[first:last])
        if stretch is None:
            trimmed.append(word)
            continue
        start = word.start if stretch[0] == 0 else (first + stretch[0]) * FRAME_SECONDS
        end = word.end if first + stretch[1] >= last else (first + stretch[1]) * FRAME_SECONDS
        trimmed.append(RawWord(word.word, start, end, word.probability))
    return trimmed


def _sound(loudness: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which frames are louder than the pauses of this window, pauses too short to count filled in."""
    smooth = smoothed(loudness, _SMOOTHING)
    floor, speech = np.percentile(smooth, [10, 95])
    sound: npt.NDArray[np.bool_] = smooth > max(speech - _SPEECH_RANGE, floor + _FLOOR_SHARE * (speech - floor))
    for first, last in _runs(~sound):
        if last - first < _MIN_PAUSE:
            sound[first:last] = True
    return sound


def _longest_stretch(sound: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    return max(_runs(sound), key=lambda run: run[1] - run[0], default=None)


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and behind-last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
