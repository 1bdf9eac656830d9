# SPDX-License-Identifier: Apache-2.0
"""Samples of 16 kHz mono, out of media files and into them."""

from __future__ import annotations

import io
import subprocess
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sqscribe.errors import NodeFaultError
from stages.ffmpeg import find_ffmpeg
from stages.values import SAMPLE_RATE

__all__ = ["Pcm", "encode", "read_pcm", "wav"]

Pcm = npt.NDArray[np.int16]

_RAW = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1")
#: Characters of ffmpeg's words that an error shows.
_TAIL = 300


def read_pcm(path: Path) -> Pcm:
    """Decodes a media file that is known to be good.

    Raises:
        NodeFaultError: It is not, or ffmpeg does not work.
    """
    arguments = ("-nostdin", "-i", str(path), "-map", "a:0", *_RAW[2:], *_RAW[:2], "pipe:1")
    return np.frombuffer(_ffmpeg(arguments, None, f"cannot decode {path}"), "<i2")


def wav(samples: Pcm) -> bytes:
    """A WAV file of samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(samples.itemsize)
        written.setframerate(SAMPLE_RATE)
        written.writeframes(samples.tobytes())
    return file.getvalue()


def encode(samples: Pcm, *output: str) -> bytes:
    """Encodes samples.

    Args:
        samples: At `SAMPLE_RATE`.
        output: ffmpeg's arguments for its output, the last of which is a file or `pipe:1`.

    Returns:
        What was written to the pipe.

    Raises:
        NodeFaultError: ffmpeg does not work.
    """
    return _ffmpeg((*_RAW, "-i", "pipe:0", *output), samples.tobytes(), "cannot encode a recording")


def _ffmpeg(arguments: tuple[str, ...], given: bytes | None, what: str) -> bytes:
    command = [find_ffmpeg(), "-loglevel", "error", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode:
        raise NodeFaultError(f"ffmpeg {what}: {done.stderr.decode(errors='replace').strip()[-_TAIL:]}")
    return done.stdout
