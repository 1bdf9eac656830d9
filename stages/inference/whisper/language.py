# SPDX-License-Identifier: Apache-2.0
"""Language detection from encoder output."""

from __future__ import annotations

import ctranslate2

__all__ = ["detect_languages"]


def detect_languages(
    model: ctranslate2.models.Whisper, encoded: ctranslate2.StorageView, rows: int, languages: tuple[str, ...]
) -> list[dict[str, float]]:
    """Probability of each of the model's languages, row by row.

    Args:
        model: A model with one language says that one without being asked.
        encoded: Encoder output [rows, 1500, d_model].
        rows: Number of rows.
        languages: Whisper codes that the model has.
    """
    if len(languages) == 1:
        return [{languages[0]: 1.0} for _ in range(rows)]
    found = []
    for row in model.detect_language(encoded):
        # A token is "<|en|>".
        probabilities = {token[2:-2]: float(probability) for token, probability in row}
        found.append({code: probabilities[code] for code in languages if code in probabilities})
    return found
