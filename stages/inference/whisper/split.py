# SPDX-License-Identifier: Apache-2.0
"""Windows decoded in two halves because text was missing, and the two halves' way back to one result."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from stages.inference.whisper.attempt import compression_ratio
from stages.inference.whisper.audio import FRAME_SECONDS, smoothed
from stages.inference.whisper.segments import cut_segments
from stages.values import SAMPLE_RATE, Piece, RawSegment, RawWord, Window

__all__ = [
    "Half",
    "Heard",
    "Join",
    "better",
    "cut_window",
    "may_split",
    "missing_speech",
    "quietest_point",
]

#: How often a window may be halved: from 30 s to parts of about 2 s, in which no language fills the cap.
MAX_DEPTH = 4
#: The same where no attempt at the text was any good: noise stays noise, however small the parts.
MAX_DEPTH_OF_FAILED = 1
#: Shortest part, in seconds, that is halved.
MIN_SECONDS = 1.0
#: Speech behind the last word that is taken for missed, in seconds.
ENDED_EARLY_SECONDS = 3.0
#: Differences in covered speech below this, in seconds, say nothing of completeness.
_COVERAGE_TOLERANCE = 1.0
#: Frames of 10 ms over which the level is smoothed when a pause is looked for: a plosive is no pause.
_SMOOTHING = 25

_Timed = TypeVar("_Timed", RawWord, RawSegment)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of a window or a part of one, in seconds of it.

    Attributes:
        words: None where the model cannot align.
        timed: Segments by the model's own timestamps, where `words` is None.
        tokens: How many there were, for weighing the halves of a whole.
        truncated: Whether the token cap cut the text off.
        missing: Seconds of speech behind the last word, summed over the parts; 0 when no more than usual.
        failed: Whether no attempt passed the thresholds.
        dropped: Why the text is not to be believed.
        language_probability: As in `WindowResult`.
    """

    language: str
    language_probability: float | None
    words: tuple[RawWord, ...] | None
    timed: tuple[RawSegment, ...]
    tokens: int
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    truncated: bool
    missing: float
    failed: bool
    dropped: str | None

    @property
    def incomplete(self) -> str | None:
        """Why words may be missing, as in `WindowResult.retries`; None when nothing hints at it.

        A text that is not believed, or that no attempt could make likely, says nothing by ending early.
        """
        if self.truncated:
            return "truncated"
        return "ended_early" if self.missing > 0 and self.dropped is None and not self.failed else None

    @property
    def segments(self) -> tuple[RawSegment, ...]:
        """What is kept of it."""
        if self.dropped is not None:
            return ()
        return self.timed if self.words is None else cut_segments(self.words)


def may_split(heard: Heard, depth: int, seconds: float) -> bool:
    """Whether a part that was halved out of its window `depth` times and has this length should be halved again."""
    deepest = MAX_DEPTH_OF_FAILED if heard.failed else MAX_DEPTH
    return heard.incomplete is not None and depth < deepest and seconds >= 2 * MIN_SECONDS


def missing_speech(last_end: float, speech_end: float) -> float:
    """Seconds of speech behind the last word, or 0 when that is not remarkable."""
    behind = speech_end - last_end
    return behind if behind > ENDED_EARLY_SECONDS else 0.0


def better(whole: Heard, halves: Heard) -> Heard:
    """The more complete one; among equals the one of better quality; the whole when nothing tells them apart.

    Completeness comes first: a text that was cut off lacks words for certain. Quality is whether it is believed,
    whether it passed the thresholds, and how likely it is.
    """
    if whole.truncated != halves.truncated:
        return halves if whole.truncated else whole
    if abs(whole.missing - halves.missing) > _COVERAGE_TOLERANCE:
        return min(whole, halves, key=lambda heard: heard.missing)
    return max(whole, halves, key=lambda heard: (heard.dropped is None, not heard.failed, heard.avg_logprob))


class Join:
    """Collects the two halves of a split window; whoever brings the second one gets the result.

    Halves may be worked on by different threads at once.

    Args:
        whole: What was heard in one go.
        retries: Why the whole was decoded again so far, the split included.
        seconds: Where in the whole the second half begins.
        parent: Which half of a larger split the whole is itself.
    """

    def __init__(self, whole: Heard, retries: tuple[str, ...], seconds: float, parent: Half | None) -> None:
        self._whole = whole
        self._retries = retries
        self._seconds = seconds
        self._parent = parent
        self._lock = threading.Lock()  # guards _parts
        self._parts: list[tuple[Heard, tuple[str, ...]] | None] = [None, None]

    def put(self, place: int, heard: Heard, retries: tuple[str, ...]) -> tuple[Heard, tuple[str, ...]] | None:
        """Hands a half in.

        Returns:
            What the window as a whole came to with its retries; None while another half is missing.
        """
        with self._lock:
            self._parts[place] = (heard, retries)
            left, right = self._parts
            if left is None or right is None:
                return None
        best = better(self._whole, _joined(left[0], right[0], self._seconds))
        retries = (*self._retries, *left[1], *right[1])
        if self._parent is None:
            return best, retries
        return self._parent.join.put(self._parent.place, best, retries)


@dataclass(frozen=True, slots=True)
class Half:
    """Which part of which split a row is: place 0 or 1."""

    join: Join
    place: int


def cut_window(window: Window, cut: int) -> tuple[Window, Window]:
    """Two windows out of one, the second of which begins at sample `cut`."""
    return _part(window, 0, cut), _part(window, cut, window.samples)


def quietest_point(loudness: npt.NDArray[np.float32], samples: int) -> int:
    """The sample in the middle half of the audio around which it is most quiet, in a pause in the middle of it.

    Args:
        loudness: Level of each 10 ms in dB.
        samples: Length of the audio.
    """
    frame = int(FRAME_SECONDS * SAMPLE_RATE)
    smooth = smoothed(loudness, _SMOOTHING)
    first, last = len(smooth) // 4, max(len(smooth) // 4 + 1, len(smooth) * 3 // 4)
    middle = smooth[first:last]
    if not len(middle):
        return samples // 2
    # Pauses are often digital silence: among equals the one nearest to the middle, so that both halves are short.
    quiet = np.flatnonzero(middle <= middle.min() + 1.0) + first
    return min(samples, int(quiet[np.argmin(np.abs(quiet - len(smooth) / 2))]) * frame)


def _part(window: Window, start: int, end: int) -> Window:
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
        overlap_before=window.overlap_before if start == 0 else 0,
        overlap_after=window.overlap_after if end == window.samples else 0,
    )


def _joined(left: Heard, right: Heard, seconds: float) -> Heard:
    """Both halves as one, the second one's times shifted. A half that was dropped adds no text."""
    words: tuple[RawWord, ...] | None = None
    if left.words is not None or right.words is not None:
        words = (*_kept(left), *(_shifted(word, seconds) for word in _kept(right)))
    timed = (*_kept_timed(left), *(_shifted(segment, seconds) for segment in _kept_timed(right)))
    weights = left.tokens + 1, right.tokens + 1
    text = "".join(item.word for item in words) if words is not None else "".join(item.text for item in timed)
    spoken = left if left.tokens >= right.tokens else right
    return Heard(
        language=spoken.language,
        language_probability=spoken.language_probability,
        words=words,
        timed=timed,
        tokens=left.tokens + right.tokens,
        avg_logprob=(left.avg_logprob * weights[0] + right.avg_logprob * weights[1]) / sum(weights),
        compression_ratio=compression_ratio(text.strip()),
        no_speech_prob=min(left.no_speech_prob, right.no_speech_prob),
        temperature=max(left.temperature, right.temperature),
        truncated=left.truncated or right.truncated,
        missing=left.missing + right.missing,
        failed=left.failed or right.failed,
        dropped=left.dropped if left.dropped is not None and right.dropped is not None else None,
    )


def _kept(heard: Heard) -> Sequence[RawWord]:
    return heard.words or () if heard.dropped is None else ()


def _kept_timed(heard: Heard) -> Sequence[RawSegment]:
    return heard.timed if heard.dropped is None else ()


def _shifted(item: _Timed, seconds: float) -> _Timed:
    return replace(item, start=item.start + seconds, end=item.end + seconds)
