# SPDX-License-Identifier: Apache-2.0
"""Text for formats that are made of lines."""

from __future__ import annotations

__all__ = ["one_line"]


def one_line(text: str) -> str:
    """The text on one line with single blanks; `-->`, which begins a cue's timing, becomes `->`.

    Whisper's own writers do the same: https://github.com/openai/whisper/blob/main/whisper/utils.py
    """
    return " ".join(text.split()).replace("-->", "->")
