# SPDX-License-Identifier: Apache-2.0
"""A window's samples, read from the job's PCM file by offset."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from stages.values import SAMPLE_RATE, Window

__all__ = ["FRAME_SECONDS", "loudness", "read_window", "smoothed"]

_SAMPLE_BYTES = 2
#: Seconds between two values of `loudness`, and between two mel frames.
FRAME_SECONDS = 0.01
_FRAME_SAMPLES = int(SAMPLE_RATE * FRAME_SECONDS)


def read_window(path: str, window: Window) -> npt.NDArray[np.float32]:
    """The window's samples in [-1, 1), float32 [samples].

    Read with `pread`, not mapped: a mapping of a file that shrinks kills the process.

    Raises:
        OSError: The file is gone, or shorter than the window says.
    """
    content = bytearray(window.samples * _SAMPLE_BYTES)
    buffer = memoryview(content)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for piece in window.pieces:
            target = buffer[piece.window_start * _SAMPLE_BYTES :][: piece.length * _SAMPLE_BYTES]
            offset = piece.file_start * _SAMPLE_BYTES
            while target:
                count = os.preadv(descriptor, [target], offset)
                if count == 0:
                    raise OSError(f"the PCM file ends before sample {piece.file_start + piece.length}")
                target = target[count:]
                offset += count
    finally:
        os.close(descriptor)
    return np.frombuffer(content, dtype="<i2").astype(np.float32) / np.float32(32768)


def loudness(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Level of each 10 ms in dB below full scale, float32 [frames], at least -100."""
    frames = len(samples) // _FRAME_SAMPLES
    power = np.square(samples[: frames * _FRAME_SAMPLES].reshape(frames, _FRAME_SAMPLES)).mean(axis=1)
    level: npt.NDArray[np.float32] = (10.0 * np.log10(np.maximum(power, 1e-10))).astype(np.float32)
    return level


def smoothed(level: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
    """The running mean over so many (an odd number of) frames; the ends are continued as they are."""
    if not len(level):
        return level
    padded = np.pad(level, frames // 2, mode="edge")
    mean: npt.NDArray[np.float32] = np.convolve(padded, np.full(frames, 1 / frames, dtype=np.float32), mode="valid")
    return mean
