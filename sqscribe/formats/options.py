# SPDX-License-Identifier: Apache-2.0
"""The options of a job that a rendered format depends on, besides the transcript."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RenderOptions"]


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """Options of one rendering.

    Attributes:
        task: `transcribe` or `translate`.
        word_timestamps: Whether `verbose_json` lists words and `vtt` has a cue for each.
    """

    task: str = "transcribe"
    word_timestamps: bool = False
