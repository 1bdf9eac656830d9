# SPDX-License-Identifier: Apache-2.0
"""How far a transcript is from what was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jiwer

from sqscribe_bench.real.coverage import longest_unheard, misshapen
from sqscribe_bench.real.echo import echoed
from sqscribe_bench.real.heard import Heard
from sqscribe_bench.real.recordings import Recording
from sqscribe_bench.real.text import tokens

__all__ = ["Score", "score", "summed"]

#: Seconds that a word may begin outside of the sentence that it belongs to.
_SLACK = 0.5


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over one recording, or over several.

    Attributes:
        recordings: How many.
        words: Said; characters where the language has no blanks.
        substituted: Words heard as others.
        deleted: Words not heard.
        inserted: Words heard that were not said.
        wrong_languages: Recordings whose language was taken for another.
        strays: Words heard right, and placed outside of their sentence.
        longest_unheard: Seconds of speech in the longest stretch without a word or a doubt.
        suspects: Segments that the contender does not trust.
        warnings: That the contender gives.
        echoes: Words of the prompt that nobody said.
        misshapen: Segments and words without length, out of order or outside the file.
        segments: All of them.
        failed: Recordings without a transcript.
    """

    recordings: int
    words: int
    substituted: int
    deleted: int
    inserted: int
    wrong_languages: int
    strays: int
    longest_unheard: float
    suspects: int
    warnings: int
    echoes: int
    misshapen: int
    segments: int
    failed: int

    @property
    def errors(self) -> int:
        """All word errors."""
        return self.substituted + self.deleted + self.inserted

    def to_json(self) -> dict[str, Any]:
        """All counts, with their names."""
        rate = self.errors / self.words if self.words else None
        return {**asdict(self), "errors": self.errors, "word_error_rate": rate}


def score(recording: Recording, heard: Heard, options: Mapping[str, Any]) -> Score:
    """Compares a transcript with what was said.

    Args:
        recording: What was said.
        heard: What was heard.
        options: A job's; the prompt and the hotwords tell what may be an echo.
    """
    language = recording.language
    said = [tokens(sentence.text, language) for sentence in recording.sentences]
    flat = [token for sentence in said for token in sentence]
    timed = [(token, word.start) for word in heard.words for token in tokens(word.word, language)]
    written = tokens(heard.text, language)
    substituted, deleted, inserted, equal = _aligned(flat, written)
    strays = 0
    if [token for token, _ in timed] == written:  # words that are split by blanks within have no time of their own
        spans = [
            (sentence.start - _SLACK, sentence.end + _SLACK)
            for sentence, words in zip(recording.sentences, said, strict=True)
            for _ in words
        ]
        strays = sum(not spans[at][0] <= timed[there][1] <= spans[at][1] for at, there in equal)
    return Score(
        recordings=1,
        words=len(flat),
        substituted=substituted,
        deleted=deleted,
        inserted=inserted,
        wrong_languages=int(bool(flat) and not heard.error and heard.language != recording.language),
        strays=strays,
        longest_unheard=longest_unheard(recording.speech, heard),
        suspects=sum(part.suspect is not None for part in heard.parts),
        warnings=len(heard.warnings),
        echoes=sum(
            echoed(tokens(options.get(name, ""), language), flat, written) for name in ("initial_prompt", "hotwords")
        ),
        misshapen=misshapen(heard, recording.seconds),
        segments=len(heard.parts),
        failed=int(heard.error is not None),
    )


def summed(scores: Iterable[Score]) -> Score:
    """One score for all."""
    records = [asdict(each) for each in scores]
    total = {name: sum(record[name] for record in records) for name in records[0]}
    total["longest_unheard"] = max(record["longest_unheard"] for record in records)
    return Score(**total)


def _aligned(said: list[str], written: list[str]) -> tuple[int, int, int, list[tuple[int, int]]]:
    """Substitutions, deletions, insertions, and the places of equal words: in what was said, in what was written."""
    if not said:
        return 0, 0, len(written), []
    aligned = jiwer.process_words(" ".join(said), " ".join(written))
    equal = [
        (chunk.ref_start_idx + step, chunk.hyp_start_idx + step)
        for chunk in aligned.alignments[0]
        if chunk.type == "equal"
        for step in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    return aligned.substitutions, aligned.deletions, aligned.insertions, equal
