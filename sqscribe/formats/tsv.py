# SPDX-License-Identifier: Apache-2.0
"""Tab-separated values as Whisper writes them: start and end in whole milliseconds, then the text."""

from __future__ import annotations

from sqscribe.formats.clock import milliseconds
from sqscribe.formats.options import RenderOptions
from sqscribe.formats.text import one_line
from sqscribe.transcript import Transcript

__all__ = ["render"]


def render(transcript: Transcript, _options: RenderOptions) -> bytes:
    """UTF-8: a header, then one segment a line. Tabs and line ends in a text become blanks.

    Where segments say which track or channel they are of, a column for each follows.
    """
    header = ["start", "end", "text"]
    rows = [
        [str(milliseconds(each.start)), str(milliseconds(each.end)), one_line(each.text)]
        for each in transcript.segments
    ]
    for name in ("track", "channel"):
        numbers = [getattr(segment, name) for segment in transcript.segments]
        if any(number is not None for number in numbers):
            header.append(name)
            for row, number in zip(rows, numbers, strict=True):
                row.append("" if number is None else str(number))
    return "".join("\t".join(row) + "\n" for row in [header, *rows]).encode()
