# SPDX-License-Identifier: Apache-2.0
"""A row of the table: a file that is made, and what is right for it."""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sqscribe.bundled import speeches
from sqscribe.errors import ErrorCode
from sqscribe_bench.lab.pcm import read_pcm, wav
from stages.ffmpeg import find_ffmpeg
from stages.values import SAMPLE_RATE

__all__ = ["CannotBeMadeError", "Pcm", "Row", "Workshop", "write_wav"]

Pcm = npt.NDArray[np.int16]
#: Seconds for making one file.
_PATIENCE = 120.0


class CannotBeMadeError(Exception):
    """This ffmpeg lacks an encoder or a container; the message says which."""


class Workshop:
    """Makes files in a folder.

    Args:
        folder: Where.

    Attributes:
        folder: Where.
        sentence: The sound: a sentence at `SAMPLE_RATE`.
        wav: A file of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sentence: Pcm = read_pcm(speeches()[0].path)
        self.wav = folder / "sentence.wav"
        self.wav.write_bytes(wav(self.sentence))
        self._ffmpeg = find_ffmpeg()

    def make(self, path: Path, *arguments: str) -> Path:
        """Lets ffmpeg write a file.

        Raises:
            CannotBeMadeError: It cannot.
        """
        command = [self._ffmpeg, "-nostdin", "-loglevel", "error", "-y", *arguments, str(path)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False, cwd=self.folder
        )
        if done.returncode:
            raise CannotBeMadeError(done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else "no reason")
        return path

    def encode(self, path: Path, *arguments: str) -> Path:
        """The sentence as another file."""
        return self.make(path, "-i", str(self.wav), *arguments)

    def with_sound(self, path: Path, samples: npt.NDArray[Any], rate: int, *arguments: str) -> Path:
        """A file of other sound than the sentence: 16-bit samples, a column a channel."""
        raw = self.folder / f"{path.name}.raw"
        raw.write_bytes(samples.astype("<i2").tobytes())
        channels = "1" if samples.ndim == 1 else str(samples.shape[1])
        try:
            return self.make(path, "-f", "s16le", "-ar", str(rate), "-ac", channels, "-i", str(raw), *arguments)
        finally:
            raw.unlink()


def write_wav(path: Path, samples: npt.NDArray[Any], rate: int = SAMPLE_RATE) -> Path:
    """A WAV of samples, a column a channel, that does not say which loudspeaker is which."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def _the_sentence(sentence: Pcm) -> Pcm:
    return sentence


@dataclass(frozen=True, slots=True)
class Row:
    """One file.

    Attributes:
        name: Of the file.
        make: Writes it.
        sound: What must be heard, out of the sentence.
        codes: Instead: with which of these codes the job must fail. Empty: it must not.
        words: What must stand in the failure's message.
        lag: Seconds that the sound may lie beside its place. Codecs have a delay which a file without a head to say it
            cannot take back; a player plays it, too.
        slack: Seconds that the whole may be longer or shorter.
        likeness: Least correlation of a piece with what it should be.
    """

    name: str
    make: Callable[[Workshop], object]
    sound: Callable[[Pcm], Pcm] = _the_sentence
    codes: frozenset[ErrorCode] = field(default=frozenset())
    words: str = ""
    lag: float = 0.03
    slack: float = 0.1
    likeness: float = 0.6
