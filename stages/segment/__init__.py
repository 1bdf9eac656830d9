# SPDX-License-Identifier: Apache-2.0
"""Segment: finds the speech in a recording, and cuts it into windows."""

from __future__ import annotations

from dataclasses import replace

from sqscribe.tuning import Tuning
from stages.ports import Cancellation
from stages.segment.cut import CutSettings, cut_track
from stages.segment.tuned import tuned
from stages.segment.vad import SileroVad
from stages.values import SAMPLE_RATE, Audio, Window, Windows

__all__ = ["CutSettings", "Segmenter"]


class Segmenter:
    """Turns decoded audio into windows; one object serves all threads.

    Args:
        settings: Lengths and thresholds of the cut where a job names none; the defaults suit Whisper.

    Raises:
        UnfitNodeError: The voice activity model is missing.
    """

    def __init__(self, settings: CutSettings | None = None) -> None:
        self._settings = settings or CutSettings()
        self._vad = SileroVad()

    def segment(self, audio: Audio, vad: bool, cancellation: Cancellation, tuning: Tuning | None = None) -> Windows:
        """Cuts one recording, each of its voices by itself. The same samples give the same windows.

        Args:
            audio: Read in slabs: memory does not grow with its length, but for 5 bytes per 32 ms.
            vad: Whether silence is left out; otherwise the windows cover every sample.
            cancellation: Looked at every few seconds of audio.
            tuning: The job's: how silence is found, how long windows are, and whether quiet speech is brought to a
                common loudness, for the detector and for the model.

        Raises:
            Cancelled: The job was called off.
            NodeFaultError: The PCM file cannot be read.
        """
        tuning = tuning or Tuning()
        settings = tuned(self._settings, tuning)
        windows: list[Window] = []
        speech = 0
        for voice in audio.voices:
            track = self._vad.track(audio, cancellation, lift=tuning.level, voice=voice)
            cut, spoken = cut_track(track, settings, vad=vad, level=tuning.level)
            placed = [window.moved(voice.file_start) for window in cut] if voice.file_start else cut
            windows += [replace(window, index=index) for index, window in enumerate(placed, start=len(windows))]
            speech += spoken
        return Windows(audio, tuple(windows), speech / SAMPLE_RATE, self.cutter(vad, tuning))

    def cutter(self, vad: bool, tuning: Tuning | None = None) -> str:
        """`Windows.cutter` of what `segment` gives."""
        tuning = tuning or Tuning()
        return f"{tuned(self._settings, tuning).version} {self._vad.version} vad={vad} level={tuning.level}"
