# SPDX-License-Identifier: Apache-2.0
"""Subtitle cues, cut from words within the usual limits of width, lines and time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqscribe.formats.text import one_line, spoken_by
from sqscribe.transcript import Segment, Transcript, Word

__all__ = ["Cue", "CueLimits", "cues", "word_cues"]

#: Seconds of imbalance that a cut at the end of a sentence, or of a clause, is worth when a cue is divided;
#: a pause is worth its own length.
SENTENCE_BONUS = 2.0
CLAUSE_BONUS = 1.0


@dataclass(frozen=True, slots=True)
class CueLimits:
    """What a viewer can follow. The defaults are the norms of subtitle style guides.

    Attributes:
        max_chars: Characters of a line.
        max_lines: Lines of a cue.
        min_seconds: A shorter cue is shown longer, or joined to the next, where there is room.
        max_seconds: Longest a cue is shown.
        max_pause: Seconds of silence after which a new cue begins.
    """

    max_chars: int = 42
    max_lines: int = 2
    min_seconds: float = 1.0
    max_seconds: float = 7.0
    max_pause: float = 3.0


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines that are shown together, from `start` to `end` in seconds.

    Attributes:
        voice: Whose they are, where voices are told apart; else empty.
    """

    start: float
    end: float
    lines: tuple[str, ...]
    voice: str = ""


@dataclass(frozen=True, slots=True)
class _Unit:
    """What no line end may divide: a word with its punctuation, or one character of a script without blanks.

    Attributes:
        blank: Whether there is a blank between it and the unit before.
    """

    text: str
    start: float
    end: float
    blank: bool


_Units = Sequence[_Unit]

_NORMS = CueLimits()


def cues(transcript: Transcript, limits: CueLimits = _NORMS, *, named: bool = False) -> list[Cue]:
    """Cuts the transcript into cues, in order of time. Those of several voices overlap as the voices do.

    A cue ends with its segment (a sentence), at a pause, or where it would grow too wide or too long; one that is
    divided is divided evenly, at punctuation and pauses where there are any. Segments without words are cut as if
    their words were spread evenly over them.

    Args:
        transcript: What was said.
        limits: Of a cue.
        named: Whether a cue's text begins with the name of its voice.
    """
    by_voice: dict[str, list[Segment]] = defaultdict(list)
    for segment in transcript.segments:
        by_voice[segment.voice].append(segment)
    found = [cue for voice, segments in by_voice.items() for cue in _cues(segments, limits, voice, named=named)]
    return sorted(found, key=lambda cue: cue.start) if transcript.apart else found


def _cues(segments: Sequence[Segment], limits: CueLimits, voice: str, *, named: bool) -> Iterator[Cue]:
    name = spoken_by(voice).rstrip() if named else ""
    blocks = [
        block
        for segment in segments
        for talk in _without_pauses(_units(segment, limits), limits)
        for block in _divided(talk, limits, name)
    ]
    blocks = list(_joined(blocks, limits, name))
    ends = [following[0].start for following in blocks[1:]] + [math.inf]
    for block, end in zip(blocks, ends[: len(blocks)], strict=True):
        yield Cue(block[0].start, _shown_until(block, end, limits), _layout(_named(block, name), limits), voice)


def word_cues(transcript: Transcript) -> list[Cue]:
    """One cue a word, as long as it is spoken; segments without words are one cue each. In order of time."""
    found = [
        Cue(spoken.start, spoken.end, (text,), segment.voice)
        for segment in transcript.segments
        for spoken, said in _words(segment)
        if (text := one_line(said))
    ]
    return sorted(found, key=lambda cue: cue.start) if transcript.apart else found


def _words(segment: Segment) -> list[tuple[Segment | Word, str]]:
    if segment.words is None:
        return [(segment, segment.text)]
    return [(word, word.word) for word in segment.words]


# -- units ---------------------------------------------------------------------------------------------------------


def _units(segment: Segment, limits: CueLimits) -> list[_Unit]:
    """The segment's words: those without a blank between them are joined, those wider than a line are divided."""
    pieces = _pieces(segment)
    # Chinese, Japanese or Thai words have no blanks, so each may begin a line; elsewhere a word without one belongs
    # to the word before ("don" + "'t").
    spaceless = sum(not piece.blank for piece in pieces) * 2 > len(pieces) > 1
    glued: list[_Unit] = []
    for piece in pieces:
        if glued and not piece.blank and not spaceless:
            before = glued[-1]
            end = max(before.end, piece.end)
            glued[-1] = _Unit(before.text + piece.text, before.start, end, before.blank)
        else:
            glued.append(piece)
    return [part for unit in glued for part in _narrow(unit, limits.max_chars)]


def _pieces(segment: Segment) -> list[_Unit]:
    if segment.words:
        return [
            _Unit(text, word.start, max(word.start, word.end), word.word[:1].isspace())
            for word in segment.words
            if (text := one_line(word.word))
        ]
    texts = one_line(segment.text).split()
    length = sum(map(len, texts)) or 1
    pace = max(0.0, segment.end - segment.start) / length
    pieces, begun = [], 0
    for text in texts:
        start = segment.start + begun * pace
        begun += len(text)
        pieces.append(_Unit(text, start, segment.start + begun * pace, blank=True))
    return pieces


def _narrow(unit: _Unit, width: int) -> Iterator[_Unit]:
    """The unit, in parts of at most `width` characters if it is wider than a line."""
    if len(unit.text) <= width:
        yield unit
        return
    pace = (unit.end - unit.start) / len(unit.text)
    for begin in range(0, len(unit.text), width):
        text = unit.text[begin : begin + width]
        start = unit.start + begin * pace
        yield _Unit(text, start, start + len(text) * pace, unit.blank and begin == 0)


# -- cutting -------------------------------------------------------------------------------------------------------


def _without_pauses(units: _Units, limits: CueLimits) -> Iterator[_Units]:
    begin = 0
    for index in range(1, len(units)):
        if units[index].start - units[index - 1].end > limits.max_pause:
            yield units[begin:index]
            begin = index
    if units:
        yield units[begin:]


def _divided(units: _Units, limits: CueLimits, name: str) -> Iterator[_Units]:
    """Divides the units into as few cues as fit the limits: halves them at the best place until each half fits."""
    if len(units) == 1 or _fits(_named(units, name), limits):
        yield units
        return
    cut = _best_cut(units)
    yield from _divided(units[:cut], limits, name)
    yield from _divided(units[cut:], limits, name)


def _best_cut(units: _Units) -> int:
    """Where to divide, among the middle half (so that neither side is a leftover): the second part's first index."""
    middle = (units[0].start + units[-1].end) / 2
    margin = len(units) // 4

    def cost(index: int) -> float:
        before, after = units[index - 1], units[index]
        pause = max(0.0, after.start - before.end)
        bonus = 0.0
        if before.text.endswith((".", "!", "?", "…", "。", "！", "？")):  # noqa: RUF001 - full-width marks are meant
            bonus = SENTENCE_BONUS
        elif before.text.endswith((",", ";", ":", "、", "，", "；", "：")):  # noqa: RUF001 - likewise
            bonus = CLAUSE_BONUS
        return abs(before.end - middle) - bonus - pause

    return min(range(max(1, margin), max(2, len(units) - margin)), key=cost)


def _joined(blocks: Sequence[_Units], limits: CueLimits, name: str) -> Iterator[_Units]:
    """Joins a cue to the next where it could not be shown for its least time otherwise, if both fit in one."""
    waiting: _Units = ()
    for block in blocks:
        if waiting:
            together = [*waiting, *_after_blank(block)]
            hurried = 0 <= block[0].start - waiting[0].start < limits.min_seconds
            if hurried and _fits(_named(together, name), limits):
                waiting = together
                continue
            yield waiting
        waiting = block
    if waiting:
        yield waiting


def _after_blank(block: _Units) -> _Units:
    first = block[0]
    return [_Unit(first.text, first.start, first.end, blank=True), *block[1:]]


def _named(block: _Units, name: str) -> _Units:
    """The block behind the name of who speaks, which takes its room in the cue."""
    return [_Unit(name, block[0].start, block[0].start, blank=False), *_after_blank(block)] if name else block


def _shown_until(block: _Units, following: float, limits: CueLimits) -> float:
    start = block[0].start
    spoken = max(unit.end for unit in block)
    end = min(max(spoken, start + limits.min_seconds), start + limits.max_seconds)
    return min(end, following) if following > start else end


# -- lines ---------------------------------------------------------------------------------------------------------


def _fits(units: _Units, limits: CueLimits) -> bool:
    seconds = max(unit.end for unit in units) - units[0].start
    return seconds <= limits.max_seconds and len(_filled(units, limits.max_chars)) <= limits.max_lines


def _layout(units: _Units, limits: CueLimits) -> tuple[str, ...]:
    """As few lines as the width allows, then as even as that number allows."""
    lines = _filled(units, limits.max_chars)
    length = sum(map(len, lines))
    for width in range(math.ceil(length / len(lines)), limits.max_chars):
        evener = _filled(units, width)
        if len(evener) == len(lines) and max(map(len, evener)) <= width:
            return evener
    return lines


def _filled(units: _Units, width: int) -> tuple[str, ...]:
    """Lines filled one after the other up to `width` characters; a wider unit has a line of its own."""
    lines = [units[0].text]
    for unit in units[1:]:
        longer = f"{lines[-1]}{' ' if unit.blank else ''}{unit.text}"
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(unit.text)
    return tuple(lines)
