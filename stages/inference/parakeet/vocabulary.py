# SPDX-License-Identifier: Apache-2.0
"""The pieces that tokens stand for."""

from __future__ import annotations

import re
from pathlib import Path

import tokenizers

from sqscribe.errors import UnfitNodeError

__all__ = ["Vocabulary"]

_MARK = re.compile(r"<.*>")


class Vocabulary:
    """Reads `tokenizer.json`.

    Args:
        folder: Of the model.
        size: Tokens that the model may write.

    Raises:
        UnfitNodeError: It cannot be read.
    """

    def __init__(self, folder: Path, size: int) -> None:
        path = folder / "tokenizer.json"
        try:
            text = path.read_text(encoding="utf-8")
            tokenizer = tokenizers.Tokenizer.from_str(text)
        except (OSError, ValueError) as error:
            raise UnfitNodeError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error
        except Exception as error:  # the library has no class for a file that it cannot parse
            raise UnfitNodeError(f"{path} is no tokenizer: {error}") from error
        pieces = (tokenizer.id_to_token(token) or "" for token in range(size))
        self._pieces = tuple("" if _MARK.fullmatch(piece) else piece for piece in pieces)

    def piece(self, token: int) -> str:
        """Of a token, with SentencePiece's mark for a blank; empty for what is no text."""
        return self._pieces[token]
