# SPDX-License-Identifier: Apache-2.0
"""Word times for many rows in few calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ctranslate2

from stages.inference.whisper.encoder import Encoded, Encoder
from stages.inference.whisper.vocabulary import Vocabulary
from stages.inference.whisper.words import align_words, trim_to_sound
from stages.values import RawWord

__all__ = ["Aligner", "Spoken"]


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """A text and the audio that it was spoken in.

    Attributes:
        tokens: Text tokens only.
        seconds: Length of the audio.
    """

    encoded: Encoded
    tokens: tuple[int, ...]
    language: str
    seconds: float


class Aligner:
    """Aligns texts with encoder output by the model's alignment heads."""

    def __init__(self, model: ctranslate2.models.Whisper, encoder: Encoder, vocabulary: Vocabulary) -> None:
        self._model = model
        self._encoder = encoder
        self._vocabulary = vocabulary

    def words(self, rows: Sequence[Spoken]) -> list[tuple[RawWord, ...]]:
        """The words of each row, in seconds of its audio."""
        words: list[tuple[RawWord, ...]] = [()] * len(rows)
        groups: dict[tuple[int, ...], list[int]] = {}  # one call takes one start sequence
        for index, row in enumerate(rows):
            if row.tokens:
                groups.setdefault(self._vocabulary.start(row.language, "transcribe"), []).append(index)
        for start, indexes in groups.items():
            group = [rows[index] for index in indexes]
            for index, row, result in zip(indexes, group, self._align(start, group), strict=True):
                split = self._vocabulary.words(row.tokens, row.language)
                aligned = align_words(split, result.alignments, result.text_token_probs, row.seconds)
                words[index] = tuple(trim_to_sound(aligned, row.encoded.loudness))
        return words

    def _align(self, start: tuple[int, ...], rows: Sequence[Spoken]) -> list[ctranslate2.models.WhisperAlignmentResult]:
        encoded = [row.encoded for row in rows]
        tokens = [list(row.tokens) for row in rows]
        frames = [row.encoded.frames for row in rows]
        if len({count // 2 for count in frames}) == 1 and len({len(text) for text in tokens}) > 1:
            # With equal frame counts CTranslate2 normalises the attention over all rows' token positions, padding
            # included, so that a row's times depend on its neighbours (src/models/whisper.cc, `align`). Any two
            # unequal counts make it go row by row: an empty row more, of another length, and all keep their own.
            encoded.append(encoded[0])
            tokens.append([])
            frames.append(frames[0] - 2 if frames[0] > 2 else frames[0] + 2)
        results = self._model.align(self._encoder.batch(encoded), list(start), tokens, frames)
        return results[: len(rows)]  # type: ignore[no-any-return]
