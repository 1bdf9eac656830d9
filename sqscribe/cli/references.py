# SPDX-License-Identifier: Apache-2.0
"""Texts of what is said in recordings, and how far transcripts are from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqscribe.errors import SettingsError
from sqscribe.wer import count_words, word_errors

__all__ = ["ReferenceScore", "read_references", "score_against"]


@dataclass(frozen=True, slots=True)
class ReferenceScore:
    """Words said, and words wrong, missing or too many."""

    words: int
    errors: int

    def __str__(self) -> str:
        share = f" ({self.errors / self.words:.1%})" if self.words else ""
        return f"{self.errors} word errors in {self.words} words{share}"


def read_references(paths: Sequence[Path], sources: int) -> list[str | None]:
    """The texts, one for each source; no texts where no path is given.

    Raises:
        SettingsError: There are more or fewer than sources, or one cannot be read.
    """
    if not paths:
        return [None] * sources
    if len(paths) != sources:
        raise SettingsError(f"--reference: {len(paths)} given for {sources} sources; give one for each, in their order")
    return [_read(path) for path in paths]


def score_against(reference: str, text: str) -> ReferenceScore:
    """Counts word errors; see `sqscribe.wer`."""
    return ReferenceScore(count_words(reference), word_errors(reference, text))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise SettingsError(f"--reference: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--reference: {path} is not a UTF-8 text") from None
