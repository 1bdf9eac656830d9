# SPDX-License-Identifier: Apache-2.0
"""One decode of one row, and what its figures say of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from stages.inference.judge.coverage import Hole
from stages.values import RawSegment, RawWord

__all__ = ["Attempt", "average_logprob", "compression_ratio"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What `generate` gave for a row.

    Attributes:
        tokens: As generated, timestamps included, without end-of-text.
        text: Of the text tokens, stripped.
        avg_logprob: Mean log probability of the tokens and end-of-text.
        compression_ratio: See `compression_ratio`.
        no_speech_prob: Probability of the no-speech token at the start of the transcript.
        temperature: 0 for beam search.
        truncated: Whether the token cap ended it instead of end-of-text.
        words: Aligned with the audio; None where the model cannot align, or was not asked to.
        timed: Segments by the model's own timestamps, where `words` is None.
        unspeakable: Words that were left out of `words` because the text has more than its speech has room for.
        holes: Speech that the text leaves out.
        spoken_logprob: Mean log probability of the text given the audio alone, without any prompt; None where the
            model cannot align.
    """

    tokens: tuple[int, ...]
    text: str
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    truncated: bool
    words: tuple[RawWord, ...] | None = None
    timed: tuple[RawSegment, ...] = ()
    unspeakable: int = 0
    holes: tuple[Hole, ...] = ()
    spoken_logprob: float | None = None

    @property
    def missing(self) -> float:
        """Seconds of speech that the text leaves out."""
        return sum(hole.seconds for hole in self.holes)


def average_logprob(score: float, tokens: int) -> float:
    """Mean log probability from CTranslate2's score, which leaves end-of-text out of the length.

    As in `faster_whisper.WhisperModel.generate_with_fallback` at a length penalty of 1.
    """
    return score * tokens / (tokens + 1)


def compression_ratio(text: str) -> float:
    """UTF-8 bytes over their zlib size: text that repeats itself has a high one. 0 for no text."""
    if not text:
        return 0.0
    encoded = text.encode("utf-8")
    return len(encoded) / len(zlib.compress(encoded))
