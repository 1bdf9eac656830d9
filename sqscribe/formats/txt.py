# SPDX-License-Identifier: Apache-2.0
"""Plain text: one segment a line."""

from __future__ import annotations

from sqscribe.formats.options import RenderOptions
from sqscribe.formats.text import one_line
from sqscribe.transcript import Transcript

__all__ = ["render"]


def render(transcript: Transcript, _options: RenderOptions) -> bytes:
    """UTF-8, each line ended by a line feed."""
    return "".join(f"{one_line(segment.text)}\n" for segment in transcript.segments).encode()
