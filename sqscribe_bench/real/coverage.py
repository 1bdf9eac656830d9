# SPDX-License-Identifier: Apache-2.0
"""What of the speech is under words, and what is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqscribe_bench.real.heard import Heard

__all__ = ["longest_unheard", "misshapen"]

#: Seconds that a word may cover; a word that lasts longer hides what else was said.
WORD = 1.2

Span = tuple[float, float]


def longest_unheard(speech: Sequence[Span], heard: Heard) -> float:
    """Seconds of speech in the longest stretch between two words, or without a doubt said about it.

    Pauses within the stretch do not count. Where a contender has no times for words, its segments stand for them.

    Args:
        speech: Where someone speaks.
        heard: What was made of it; a segment that is not trusted covers all of itself.
    """
    spans = [
        (word.start, min(word.end, word.start + WORD))
        for part in heard.parts
        for word in part.words
        if word.word.strip()
    ]
    spans += [(part.start, part.end) for part in heard.parts if part.suspect or not part.words]
    longest, at = 0.0, 0.0
    for start, end in [*sorted(spans), (float("inf"), float("inf"))]:
        if start > at:
            longest = max(longest, sum(_shared(span, (at, start)) for span in speech))
        at = max(at, end)
    return longest


def misshapen(heard: Heard, seconds: float) -> int:
    """Segments and words that have no length, begin before the one before, or lie outside the file."""
    return _misshapen(((part.start, part.end) for part in heard.parts), seconds) + _misshapen(
        ((word.start, word.end) for word in heard.words), seconds
    )


def _misshapen(spans: Iterable[Span], seconds: float) -> int:
    count, before = 0, 0.0
    for start, end in spans:
        count += not (before <= start < end <= seconds + 0.05)
        before = max(before, start)
    return count


def _shared(span: Span, other: Span) -> float:
    return max(0.0, min(span[1], other[1]) - max(span[0], other[0]))
