# SPDX-License-Identifier: Apache-2.0
"""Recordings for the scenario: each unlike any other, so that a text from another job's audio shows."""

from __future__ import annotations

import io
import random
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from sqscribe import bundled
from sqscribe.bundled import Expected
from stages.assemble import assemble
from stages.decode import DecodeLimits, Decoder
from stages.ffmpeg import find_ffmpeg
from stages.ports import Cancellation
from stages.segment import Segmenter
from stages.values import SAMPLE_RATE, Audio, Source, Windows
from worker.testing.decoder import digest_text, simulated_result

__all__ = ["Heard", "Hearing", "Studio"]

Pcm = npt.NDArray[np.int16]

#: The simulated engine's language.
_SPOKEN = "en"


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker must make of a recording: the text, and how many windows it takes."""

    text: str
    windows: int


class NoLimit:
    """As much scratch as there is disk."""

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Grants it."""


class Hearing:
    """Decodes and segments as a worker does, without a worker."""

    def __init__(self) -> None:
        self._decoder = Decoder(DecodeLimits(max_seconds=43_200))
        self._segmenter = Segmenter()

    def audio(self, media: bytes, folder: Path) -> Audio:
        """A recording's PCM, in the folder."""
        path = folder / "source"
        path.write_bytes(media)
        return self._decoder.decode(Source(path, len(media), sha256=""), folder, NoLimit(), Cancellation())

    def windows(self, media: bytes, folder: Path) -> Windows:
        """The windows of a recording; its PCM is left in the folder."""
        return self._segmenter.segment(self.audio(media, folder), True, Cancellation())  # noqa: FBT003 - vad

    def simulated(self, media: bytes) -> Heard:
        """What the simulated engine must hear: a digest of each window's samples."""
        with TemporaryDirectory() as folder:
            windows = self.windows(media, Path(folder))
            results = {
                window.index: simulated_result(window, digest_text(str(windows.audio.path), window), _SPOKEN)
                for window in windows.windows
            }
        return Heard(assemble(windows, results, _SPOKEN, None).text, len(windows.windows))


class Studio:
    """Cuts new recordings out of the bundled ones.

    Args:
        rng: Where they are cut.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ffmpeg = find_ffmpeg()
        hearing = Hearing()
        clips = [clip for clip in bundled.demo_clips() if clip.expected is Expected.TRANSCRIPT]
        with TemporaryDirectory() as folder:
            self._tracks = [_samples(hearing, clip.path.read_bytes(), Path(folder)) for clip in clips]

    def clip(self, seconds: tuple[float, float] = (4.0, 12.0), encoding: str | None = None) -> bytes:
        """A short one, as WAV or in one of ffmpeg's encodings (`mp3`, `ogg`)."""
        return self._encoded(self._cut(self._rng.uniform(*seconds)), encoding)

    def long(self, seconds: float, encoding: str = "mp3") -> bytes:
        """A long one: pieces of half a minute, one after another."""
        pieces = [self._cut(30.0)]
        while sum(map(len, pieces)) < seconds * SAMPLE_RATE:
            pieces.append(self._cut(30.0))
        return self._encoded(np.concatenate(pieces), encoding)

    def silence(self, seconds: float = 5.0) -> bytes:
        """One in which nothing is said."""
        return self._encoded(np.zeros(int(seconds * SAMPLE_RATE), np.int16), None)

    def garbage(self) -> bytes:
        """No recording at all."""
        return self._rng.randbytes(self._rng.randint(100, 50_000))

    def _cut(self, seconds: float) -> Pcm:
        track = self._rng.choices(self._tracks, [len(track) for track in self._tracks])[0]
        length = min(int(seconds * SAMPLE_RATE), len(track))
        start = self._rng.randint(0, len(track) - length)
        # A cut from the same place of the same track differs by its loudness.
        return (track[start : start + length] * self._rng.uniform(0.6, 1.0)).astype(np.int16)

    def _encoded(self, samples: Pcm, encoding: str | None) -> bytes:
        raw = io.BytesIO()
        with wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(samples.tobytes())
        if encoding is None:
            return raw.getvalue()
        command = [self._ffmpeg, "-loglevel", "error", "-i", "pipe:0", "-f", encoding, "pipe:1"]
        return subprocess.run(command, input=raw.getvalue(), capture_output=True, check=True).stdout


def _samples(hearing: Hearing, media: bytes, folder: Path) -> Pcm:
    pcm = hearing.audio(media, folder).path.read_bytes()
    return np.frombuffer(pcm, np.int16)
