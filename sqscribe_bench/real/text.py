# SPDX-License-Identifier: Apache-2.0
"""Texts made comparable: what all contenders' word errors are counted on."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["tokens"]

#: Languages that put no blanks between words, or not reliably: their characters are compared.
_CHARACTERS = frozenset({"ja", "ko", "th", "yue", "zh"})

#: Between digits these belong to a number: 25,000.
_IN_NUMBERS = re.compile(r"(?<=\d)[.,'\u00a0\u202f](?=\d{3}\b)")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'"})


def tokens(text: str, language: str) -> list[str]:
    """A text's words, or its characters where the language has no blanks.

    Case, punctuation and the width of letters are gone. An apostrophe inside a word stays; words joined by a hyphen
    are two. Numbers stay as they are written: "25" is not "twenty-five", for any contender.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).casefold()
    plain = _IN_NUMBERS.sub("", plain)
    letters = "".join(each if _counts(plain, at) else " " for at, each in enumerate(plain))
    return list(letters.replace(" ", "")) if language in _CHARACTERS else letters.split()


def _counts(text: str, at: int) -> bool:
    """Whether the character is a part of a word."""
    if text[at] == "'":
        return 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()
    return unicodedata.category(text[at])[0] in "LMN"
