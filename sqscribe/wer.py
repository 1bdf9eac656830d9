# SPDX-License-Identifier: Apache-2.0
"""Word errors: how far a text is from what was said."""

from __future__ import annotations

import re

__all__ = ["count_words", "word_errors"]

_WORD = re.compile(r"[\w']+")


def word_errors(reference: str, transcribed: str) -> int:
    """Substitutions, deletions and insertions between two texts; case and punctuation are ignored.

    The edit distance of Levenshtein over words.
    """
    said, written = _words(reference), _words(transcribed)
    costs = list(range(len(written) + 1))
    for row, word in enumerate(said, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(written, 1):
            diagonal, costs[column] = (
                costs[column],
                min(costs[column] + 1, costs[column - 1] + 1, diagonal + (word != other)),
            )
    return costs[-1]


def count_words(text: str) -> int:
    """How many words `word_errors` sees in a text."""
    return len(_words(text))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
