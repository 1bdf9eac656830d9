# SPDX-License-Identifier: Apache-2.0
"""Texts that were never spoken: hallucinated repetitions, and echoes of the prompt."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["echoes_prompt", "is_repetition", "is_too_fast"]

#: Longest unit whose repetition is looked for, in words or characters: a long sentence.
_MAX_UNIT = 30
#: A unit that follows itself so often is "many times". People do say "no, no, no, no".
_MIN_REPEATS = 5
#: Nobody speaks faster for long: words, and characters where words are not set apart, a second of speech.
_MAX_WORDS_PER_SECOND = 5.0
_MAX_CHARACTERS_PER_SECOND = 12.0
#: By so much more even the fastest speaker is too slow, for a few seconds too; and what a short text may have besides.
_TOO_FAST, _SPARE_UNITS = 1.6, 5
#: A run of so many of the prompt's words is no chance.
_RUN = 4
#: A text is an echo if so much of it is such runs; of a longer text, where they have at least so many words, less.
_ECHO_SHARE, _LONG_ECHO_SHARE, _LONG_ECHO_WORDS = 0.8, 0.2, 8


def is_repetition(text: str, speech_seconds: float) -> bool:
    """Whether a unit repeats many times in succession, more than so little speech has room for."""
    units, per_second = _units(text)
    return _longest_repetition(units) > max(speech_seconds, 0.1) * per_second


def is_too_fast(text: str, speech_seconds: float) -> bool:
    """Whether there are more words than so much speech has room for, some to spare."""
    units, per_second = _units(text)
    return len(units) > _SPARE_UNITS + _TOO_FAST * max(speech_seconds, 0.1) * per_second


def echoes_prompt(text: str, prompt: str) -> bool:
    """Whether the text is the prompt's, or to a good part runs of its words, in whatever order and however often."""
    words, _ = _units(text)
    prompt_words, _ = _units(prompt)
    if not words or not prompt_words:
        return False
    if words == prompt_words:
        return True
    echoed = _in_runs(words, prompt_words)
    share = echoed / len(words)
    return share >= _ECHO_SHARE or (echoed >= _LONG_ECHO_WORDS and share >= _LONG_ECHO_SHARE)


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


def _in_runs(words: Sequence[str], prompt: Sequence[str]) -> int:
    """How many of the words lie in runs of words that the prompt has too, over and over if need be."""
    known = {tuple(run) for run in _runs([*prompt, *prompt[: _RUN - 1]])}
    covered = {place + step for place, run in enumerate(_runs(words)) if tuple(run) in known for step in range(_RUN)}
    return len(covered)


def _runs(words: Sequence[str]) -> list[Sequence[str]]:
    return [words[place : place + _RUN] for place in range(len(words) - _RUN + 1)]
