# SPDX-License-Identifier: Apache-2.0
"""Text for formats that are made of lines."""

from __future__ import annotations

__all__ = ["one_line", "spoken_by"]


def one_line(text: str) -> str:
    """The text on one line with single blanks; `-->`, which begins a cue's timing, becomes `->`.

    Whisper's own writers do the same: https://github.com/openai/whisper/blob/main/whisper/utils.py
    """
    return " ".join(text.split()).replace("-->", "->")


def spoken_by(voice: str) -> str:
    """What stands before the text of a voice; nothing where voices are not told apart."""
    return f"{voice}: " if voice else ""
