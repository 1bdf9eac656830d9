# SPDX-License-Identifier: Apache-2.0
"""SubRip subtitles."""

from __future__ import annotations

from sqscribe.formats.clock import span, srt_time
from sqscribe.formats.cues import cues
from sqscribe.formats.options import RenderOptions
from sqscribe.transcript import Transcript

__all__ = ["render"]


def render(transcript: Transcript, _options: RenderOptions) -> bytes:
    """UTF-8 without a byte order mark; cues numbered from 1. Empty without speech.

    Where voices are apart, a cue's text begins with the name of its own.
    """
    blocks = []
    for number, cue in enumerate(cues(transcript, named=True), start=1):
        start, end = span(cue.start, cue.end)
        lines = "\n".join(cue.lines)
        blocks.append(f"{number}\n{srt_time(start)} --> {srt_time(end)}\n{lines}\n")
    return "\n".join(blocks).encode()
