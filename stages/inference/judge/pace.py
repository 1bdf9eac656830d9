# SPDX-License-Identifier: Apache-2.0
"""Words that are given less time than anybody needs to say them."""

from __future__ import annotations

from collections.abc import Sequence

from stages.values import RawWord

__all__ = ["left_out", "unspeakable"]

#: Words in a row of which each has no more than so many seconds on average were not spoken: 16 words a second. Fewer
#: are a matter of the alignment, which moves in steps of 0.02 s.
_SECONDS, _IN_A_ROW = 0.06, 4
#: If more of the words than this come so, the alignment is wrong, unless the text is too fast as a whole.
_FEW = 0.3
#: Times are multiples of 0.02 s, but for what floating point makes of them.
_ROUNDING = 1e-6


def unspeakable(words: Sequence[RawWord]) -> frozenset[int]:
    """The places of words that come in rows too fast to be spoken: text that goes on where the audio has ended."""
    found: set[int] = set()
    for first in range(len(words) - _IN_A_ROW + 1):
        row = words[first : first + _IN_A_ROW]
        if sum(word.end - word.start for word in row) <= _SECONDS * _IN_A_ROW + _ROUNDING:
            found.update(range(first, first + _IN_A_ROW))
    return frozenset(found)


def left_out(words: Sequence[RawWord], *, too_fast: bool) -> frozenset[int]:
    """The places of words that are not to be kept: what comes too fast, where that says more of the text than of times.

    Args:
        words: From where the alignment reaches each to where it reaches the next one.
        too_fast: Whether the text as a whole has more words than its speech has room for.
    """
    found = unspeakable(words)
    return found if too_fast or len(found) <= _FEW * len(words) else frozenset()
