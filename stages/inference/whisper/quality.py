# SPDX-License-Identifier: Apache-2.0
"""Texts that were never spoken: hallucinated repetitions, and echoes of the prompt."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["echoes_prompt", "is_repetition"]

#: Longest unit whose repetition is looked for, in words or characters: a long sentence.
_MAX_UNIT = 30
#: A unit that follows itself so often is "many times". People do say "no, no, no, no".
_MIN_REPEATS = 5
#: Nobody speaks faster for long: words, and characters where words are not set apart, a second of speech.
_MAX_WORDS_PER_SECOND = 5.0
_MAX_CHARACTERS_PER_SECOND = 12.0
#: Text shorter than this, in words, may be in the prompt by chance.
_MIN_ECHO_WORDS = 4
#: Of the text's words, how many must stand in the prompt in the same order for an echo.
_ECHO_SHARE = 0.8


def is_repetition(text: str, speech_seconds: float) -> bool:
    """Whether a unit repeats many times in succession, more than so little speech has room for."""
    units, per_second = _units(text)
    return _longest_repetition(units) > max(speech_seconds, 0.1) * per_second


def echoes_prompt(text: str, prompt: str) -> bool:
    """Whether the text is a stretch of the prompt, or the prompt over and over."""
    words, _ = _units(text)
    prompt_words, _ = _units(prompt)
    if not words or not prompt_words:
        return False
    if words == prompt_words:
        return True
    if len(words) < _MIN_ECHO_WORDS:
        return False
    return _longest_common_run(words, prompt_words * (len(words) // len(prompt_words) + 2)) >= _ECHO_SHARE * len(words)


def _units(text: str) -> tuple[list[str], float]:
    """Words without marks and case, or characters for scripts that set no blanks; and their fastest pace."""
    plain = "".join(
        " " if unicodedata.category(character)[0] in "PSZC" and character != "'" else character
        for character in unicodedata.normalize("NFKC", text).casefold()
    )
    words = plain.split()
    if words and sum(map(len, words)) / len(words) > 15:
        return list("".join(words)), _MAX_CHARACTERS_PER_SECOND
    return words, _MAX_WORDS_PER_SECOND


def _longest_repetition(units: Sequence[str]) -> int:
    """Units in the longest stretch in which one unit sequence follows itself at least `_MIN_REPEATS` times."""
    longest = 0
    for size in range(1, min(_MAX_UNIT, len(units) // _MIN_REPEATS) + 1):
        same = 0
        for index in range(size, len(units)):
            same = same + 1 if units[index] == units[index - size] else 0
            if same >= size * (_MIN_REPEATS - 1):
                longest = max(longest, same + size)
    return longest


def _longest_common_run(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest run of words that both have."""
    best = 0
    lengths = [0] * (len(right) + 1)
    for word in left:
        previous = 0
        for index, other in enumerate(right, start=1):
            diagonal, lengths[index] = lengths[index], previous + 1 if word == other else 0
            previous = diagonal
            best = max(best, lengths[index])
    return best
