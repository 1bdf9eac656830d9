# SPDX-License-Identifier: Apache-2.0
"""What was made of a window, for tests that are about a few of its figures."""

from __future__ import annotations

from dataclasses import replace

from stages.inference.whisper.transcribed import Transcribed
from stages.values import RawWord

__all__ = ["heard"]


def heard(*words: tuple[str, float, float], **figures: object) -> Transcribed:
    """An English text without fault.

    Args:
        words: Text, start and end of each.
        figures: Fields that are otherwise.
    """
    base = Transcribed(
        language="en",
        language_probability=None,
        words=tuple(RawWord(text, start, end, 1.0) for text, start, end in words),
        timed=(),
        tokens=len(words),
        avg_logprob=-0.2,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        temperature=0.0,
        truncated=False,
        holes=(),
        failed=False,
        dropped=None,
    )
    return replace(base, **figures)  # type: ignore[arg-type]
