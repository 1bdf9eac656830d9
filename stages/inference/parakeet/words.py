# SPDX-License-Identifier: Apache-2.0
"""From tokens with their frames to words with their times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from stages.inference.parakeet.transducer import Emitted
from stages.values import RawWord

__all__ = ["words_of"]

#: SentencePiece's mark of a blank: a piece that begins with it begins a word.
_BLANK = "\u2581"


def words_of(
    emitted: Sequence[Emitted], piece: Callable[[int], str], frame_seconds: float, seconds: float
) -> tuple[RawWord, ...]:
    """The words, in seconds of the window.

    Args:
        emitted: In order.
        piece: Of a token, as the vocabulary has it; empty for marks, which are no text.
        frame_seconds: Of a frame of the encoder's output.
        seconds: Of the window: no word ends behind it.
    """
    groups: list[list[tuple[str, Emitted]]] = []
    for each in emitted:
        text = piece(each.token)
        if text and (text.startswith(_BLANK) or not groups):
            groups.append([])
        if text:
            groups[-1].append((text.replace(_BLANK, ""), each))
    words = []
    for group in groups:
        text = "".join(part for part, _ in group)
        first, last = group[0][1], group[-1][1]
        if text:
            start = min(first.frame * frame_seconds, seconds)
            end = min((last.frame + max(last.frames, 1)) * frame_seconds, seconds)
            words.append(RawWord(f" {text}", start, end, math.exp(fmean(each.logprob for _, each in group))))
    return tuple(words)
