# SPDX-License-Identifier: Apache-2.0
"""WebVTT: https://www.w3.org/TR/webvtt1/."""

from __future__ import annotations

from sqscribe.formats.clock import span, vtt_time
from sqscribe.formats.cues import cues, word_cues
from sqscribe.formats.options import RenderOptions
from sqscribe.transcript import Transcript

__all__ = ["render"]

# `&` and `<` would begin an escape or a tag; `>` is escaped for old parsers that stop at any tag-like text.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render(transcript: Transcript, options: RenderOptions) -> bytes:
    """UTF-8; with `word_timestamps` one cue a word, else subtitles. Only the header without speech.

    Where voices are apart, a cue names its own in a voice span, which players show or style as they like.
    """
    blocks = ["WEBVTT\n"]
    for cue in word_cues(transcript) if options.word_timestamps else cues(transcript):
        start, end = span(cue.start, cue.end)
        lines = "\n".join(cue.lines).translate(_ESCAPES)
        text = f"<v {cue.voice}>{lines}</v>" if cue.voice else lines
        blocks.append(f"{vtt_time(start)} --> {vtt_time(end)}\n{text}\n")
    return "\n".join(blocks).encode()
