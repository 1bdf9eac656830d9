# SPDX-License-Identifier: Apache-2.0
"""One decode of one row, and what its figures say of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

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
    """

    tokens: tuple[int, ...]
    text: str
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    truncated: bool


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
