# SPDX-License-Identifier: Apache-2.0
"""Tab-separated values as Whisper writes them: start and end in whole milliseconds, then the text."""

from __future__ import annotations

from sqscribe.formats.clock import milliseconds
from sqscribe.formats.options import RenderOptions
from sqscribe.formats.text import one_line
from sqscribe.transcript import Transcript

__all__ = ["render"]


def render(transcript: Transcript, _options: RenderOptions) -> bytes:
    """UTF-8: a header, then one segment a line. Tabs and line ends in a text become blanks."""
    lines = ["start\tend\ttext"]
    lines += [
        f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t{one_line(segment.text)}"
        for segment in transcript.segments
    ]
    return "".join(f"{line}\n" for line in lines).encode()
