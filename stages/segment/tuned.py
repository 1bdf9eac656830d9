# SPDX-License-Identifier: Apache-2.0
"""The cutter's settings as a job wants them."""

from __future__ import annotations

from dataclasses import replace

from sqscribe.tuning import Tuning, VadTuning
from stages.segment.cut import CutSettings
from stages.segment.vad import FRAME
from stages.values import SAMPLE_RATE

__all__ = ["tuned"]

#: By how much less likely than its threshold speech may go on, and the least that this can be: those of faster-whisper.
_HYSTERESIS, _LEAST_SILENCE = 0.15, 0.01
#: The detector sees no shorter pause.
_SHORTEST_PAUSE = FRAME / SAMPLE_RATE


def tuned(settings: CutSettings, tuning: Tuning) -> CutSettings:
    """The settings with what the job names in their place."""
    vad = tuning.vad
    if vad != VadTuning():
        settings = replace(
            settings,
            speech=vad.threshold,
            silence=max(vad.threshold - _HYSTERESIS, _LEAST_SILENCE),
            # A silence that the padding of both sides fills is kept whole.
            pause=max(vad.min_silence, 2 * vad.pad, _SHORTEST_PAUSE),
            padding=vad.pad,
        )
    if tuning.max_window < settings.longest:
        share = tuning.max_window / settings.longest
        settings = replace(settings, longest=tuning.max_window, target=settings.target * share)
    return settings
