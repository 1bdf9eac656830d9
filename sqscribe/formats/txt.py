# SPDX-License-Identifier: Apache-2.0
"""Plain text: one segment a line."""

from __future__ import annotations

from sqscribe.formats.options import RenderOptions
from sqscribe.formats.text import one_line, spoken_by
from sqscribe.transcript import Transcript

__all__ = ["render"]


def render(transcript: Transcript, _options: RenderOptions) -> bytes:
    """UTF-8, each line ended by a line feed; where voices are apart, it begins with the name of its own."""
    return "".join(f"{spoken_by(segment.voice)}{one_line(segment.text)}\n" for segment in transcript.segments).encode()
