# SPDX-License-Identifier: Apache-2.0
"""Segments cut from words: at sentence ends, at pauses, and where they would become too long to read."""

from __future__ import annotations

from collections.abc import Sequence

from stages.values import RawSegment, RawWord

__all__ = ["cut_segments"]

#: A pause so long ends a segment, in seconds.
PAUSE_SECONDS = 0.6
#: Longest segments, in seconds and characters: two full subtitle cues.
MAX_SECONDS = 12.0
MAX_CHARACTERS = 160

_SENTENCE_ENDS = ".?!。？！…।۔؟"  # noqa: RUF001 - the marks of other scripts
_CLAUSE_ENDS = ",;:，、；：،"  # noqa: RUF001
_CLOSING = "\"'”’)]}»」』"  # noqa: RUF001
#: Words that end in a full stop within sentences.
_ABBREVIATIONS = frozenset({"mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "vs.", "e.g.", "i.e.", "no.", "sr.", "jr."})
#: A clause's end is worth this pause, in seconds, when a long segment is cut.
_CLAUSE_BONUS = 0.3


def cut_segments(words: Sequence[RawWord]) -> tuple[RawSegment, ...]:
    """All the words, in order, as segments in seconds of the window."""
    segments: list[RawSegment] = []
    begun: list[RawWord] = []
    for word in words:
        if begun and (_ends_sentence(begun[-1].word, word.word) or word.start - begun[-1].end >= PAUSE_SECONDS):
            segments += _readable(begun)
            begun = []
        begun.append(word)
    return (*segments, *_readable(begun))


def _ends_sentence(word: str, following: str) -> bool:
    plain = word.strip().rstrip(_CLOSING)
    if not plain or plain[-1] not in _SENTENCE_ENDS:
        return False
    if plain.casefold() in _ABBREVIATIONS or (len(plain) == 2 and plain[0].isupper() and plain[1] == "."):
        return False
    # "3." before "5" when a number was split; "..." within a sentence goes on in small letters.
    start = following.strip()[:1]
    return not (plain[-1] in ".…" and (start.islower() or (start.isdigit() and not following.startswith(" "))))


def _readable(words: Sequence[RawWord]) -> list[RawSegment]:
    """One segment, or as many as its length asks for: cut at the longest pause, best near the middle."""
    if not words:
        return []
    text = "".join(word.word for word in words)
    seconds = words[-1].end - words[0].start
    if len(words) == 1 or (seconds <= MAX_SECONDS and len(text) <= MAX_CHARACTERS):
        return [RawSegment(words[0].start, words[-1].end, text, tuple(words))]
    cut = max(range(1, len(words)), key=lambda index: _cut_value(words, index))
    return _readable(words[:cut]) + _readable(words[cut:])


def _cut_value(words: Sequence[RawWord], index: int) -> float:
    """How good a cut before `words[index]` is: seconds of pause, less for being off the middle."""
    before, after = words[index - 1], words[index]
    value = after.start - before.end
    if before.word.strip().rstrip(_CLOSING)[-1:] in _CLAUSE_ENDS:
        value += _CLAUSE_BONUS
    return value - abs(index / len(words) - 0.5)
