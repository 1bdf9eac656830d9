# SPDX-License-Identifier: Apache-2.0
"""Recordings for the scenario: each unlike any other, so that a text from another job's audio shows."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sqscribe_bench.lab.pcm import Pcm, encode, wav
from sqscribe_bench.lab.preparation import Preparation
from sqscribe_bench.lab.speech import ClipCutter
from stages.assemble import assemble
from stages.values import SAMPLE_RATE
from worker.testing.decoder import digest_text, simulated_result

__all__ = ["RecordingMaker", "Transcribed", "simulated_transcription"]

#: The simulated engine's language.
_SPOKEN = "en"
#: Seconds of the pieces that a long recording is made of.
_PIECE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What a worker must make of a recording: the text, and how many windows it takes."""

    text: str
    windows: int


def simulated_transcription(preparation: Preparation, media: bytes) -> Transcribed:
    """What the simulated engine must make of a recording: its text is a digest of each window's samples."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        source.write_bytes(media)
        windows = preparation.windows(source, folder)
        results = {
            window.index: simulated_result(window, digest_text(str(windows.audio.path), window), _SPOKEN)
            for window in windows.windows
        }
    return Transcribed(assemble(windows, results, _SPOKEN, None).text, len(windows.windows))


class RecordingMaker:
    """Makes media files out of random pieces of the bundled clips.

    Args:
        rng: Decides about the pieces.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._cutter = ClipCutter(rng)

    def clip(self, seconds: tuple[float, float] = (4.0, 12.0), encoding: str | None = None) -> bytes:
        """A short recording, as WAV or in one of ffmpeg's encodings (`mp3`, `ogg`)."""
        return _encoded(self._cut(self._rng.uniform(*seconds)), encoding)

    def long(self, seconds: float, encoding: str = "mp3") -> bytes:
        """A long recording: pieces of half a minute, one after another."""
        pieces = [self._cut(_PIECE_SECONDS)]
        while sum(map(len, pieces)) < seconds * SAMPLE_RATE:
            pieces.append(self._cut(_PIECE_SECONDS))
        return _encoded(np.concatenate(pieces), encoding)

    def silence(self, seconds: float = 5.0) -> bytes:
        """A recording in which nothing is said."""
        return _encoded(np.zeros(int(seconds * SAMPLE_RATE), np.int16), None)

    def garbage(self) -> bytes:
        """Bytes that are no recording at all."""
        return self._rng.randbytes(self._rng.randint(100, 50_000))

    def _cut(self, seconds: float) -> Pcm:
        return self._cutter.cut(self._cutter.track(), seconds)


def _encoded(samples: Pcm, encoding: str | None) -> bytes:
    return wav(samples) if encoding is None else encode(samples, "-f", encoding, "pipe:1")
