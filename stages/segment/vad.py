# SPDX-License-Identifier: Apache-2.0
"""Voice activity: the Silero model, run over a PCM file in slabs, so that memory does not grow with its length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from sqscribe.errors import NodeFaultError, UnfitNodeError
from stages.ports import Cancellation
from stages.segment.level import detection_lift
from stages.values import Audio, Voice

__all__ = ["FRAME", "SileroVad", "Track"]

_MODEL = Path(__file__).with_name("silero_vad_v6.onnx")
#: Samples that one probability stands for: 32 ms. The model knows no other size at 16 kHz.
FRAME = 512
#: Samples before a frame that the model is shown again with it.
_CONTEXT = 64
#: Frames of one call (8 s). More make a call no faster, only bigger.
_SLAB = 256
#: Windows whose spectra the model sees of a frame, and half of such a window's length.
_SPECTRA, _HALF = 4, 128
#: Width of the recurrent state.
_STATE = (1, 1, 128)
#: Turns decibels of an amplitude into its natural logarithm.
_NEPER = np.float32(np.log(10.0) / 20)
#: How far each sample of a frame is on its way through it.
_RAMP = np.arange(FRAME, dtype=np.float32) / np.float32(FRAME)

_Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What was measured of a recording, one value per `FRAME` samples; the last frame may be a part of one.

    Attributes:
        samples: Length of the recording.
        probabilities: float32 [frames], 0 to 1: how likely the frame is speech.
        levels: uint8 [frames]: power without its constant part, in whole decibels over one quantisation step.
    """

    samples: int
    probabilities: npt.NDArray[np.float32]
    levels: npt.NDArray[np.uint8]


class SileroVad:
    """The Silero voice activity detector (v6) on one thread of the CPU.

    The weights are those that faster-whisper ships, in a graph of our own that costs a quarter of the time
    (`tools/convert_vad.py`). One object serves all threads: the session keeps no state between calls. The
    probabilities are those of `faster_whisper.vad` but for the order of summation, and for the end of the file: that
    one appends an empty frame where the length is a multiple of the frame, and clears the last 64 samples of the last
    frame.

    Attributes:
        version: Name and digest of the model's file, for whoever must know whether two cuts can agree.

    Raises:
        UnfitNodeError: The model's file is missing.
    """

    def __init__(self) -> None:
        try:
            model = _MODEL.read_bytes()
        except OSError as error:
            raise UnfitNodeError(f"the voice activity model is missing ({error}): install sqscribe again") from error
        self.version = f"{_MODEL.stem}@{hashlib.sha256(model).hexdigest()[:12]}"
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = 1
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # an arena keeps the biggest call's memory for ever
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def track(
        self, audio: Audio, cancellation: Cancellation, *, lift: bool = True, voice: Voice | None = None
    ) -> Track:
        """Measures a whole recording, or one voice of it.

        Args:
            audio: Read by offset, a few seconds at a time, twice.
            cancellation: Looked at before every slab.
            lift: Whether the model is shown a copy in which what is quiet was raised above the noise.
            voice: Which one; None: the first.

        Raises:
            Cancelled: The job was called off.
            NodeFaultError: The PCM file cannot be read or is shorter than it should be.
        """
        voice = voice or audio.voices[0]
        frames = -(-voice.samples // FRAME)
        probabilities = np.empty(frames, np.float32)
        levels = np.empty(frames, np.uint8)
        done = 0
        for slab in _slabs(audio.path, voice):
            cancellation.check()
            part = slice(done, done + len(slab))
            levels[part] = np.rint(10 * np.log10(slab[:, _CONTEXT:].var(axis=1) + 1))
            done = part.stop
        gains = detection_lift(levels) if lift else np.zeros(frames, np.float32)
        h, c = np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)
        done = 0
        for slab in _slabs(audio.path, voice, gains if gains.any() else None):
            cancellation.check()
            part = slice(done, done + len(slab))
            sums, differences = _mirrored(slab)
            likely, h, c = self._session.run(None, {"sums": sums, "differences": differences, "h": h, "c": c})
            probabilities[part] = likely
            done = part.stop
        return Track(voice.samples, probabilities, levels)


def _mirrored(slab: _Samples) -> tuple[_Samples, _Samples]:
    """Sums and differences of the samples that mirror each other in each window, float32 [frames, windows, half].

    The last window goes beyond the frame, where the frame is reflected.
    """
    frames = len(slab)
    padded = np.concatenate([slab, slab[:, -2 : -2 - _CONTEXT : -1]], axis=1)
    rising = padded[:, 1 : 1 + _SPECTRA * _HALF].reshape(frames, _SPECTRA, _HALF)
    falling = padded[:, _HALF:].reshape(frames, _SPECTRA, _HALF)[:, :, ::-1]
    return rising + falling, rising - falling


def _raised(row: _Samples, begin: int, gains: npt.NDArray[np.float32]) -> _Samples:
    """Raises samples by their frames' gains, in dB, straight from the middle of a frame to that of the next one.

    Args:
        row: Samples, float32.
        begin: Place of the first one in the recording; may be before it.
        gains: One for each frame of the recording; those at its ends go on beyond it.
    """
    first, skipped = divmod(begin - FRAME // 2, FRAME)
    count = -(-(skipped + len(row)) // FRAME)
    near = gains[np.arange(first, first + count + 1).clip(0, len(gains) - 1)] * _NEPER
    if not near.any():
        return row
    # A grid with a line for each frame: `np.interp` and powers of doubles took a quarter of all that speech costs.
    between = near[:-1, None] + np.diff(near)[:, None] * _RAMP
    raised: _Samples = row * np.exp(between.ravel()[skipped : skipped + len(row)])
    np.clip(raised, -32768, 32767, out=raised)
    return raised


def _slabs(path: Path, voice: Voice, gains: npt.NDArray[np.float32] | None = None) -> Iterator[_Samples]:
    """The recording as float32 [frames, context + frame] in units of the 16-bit sample, zeros after its end.

    Args:
        path: The PCM file.
        voice: Where the recording lies in it.
        gains: By how many dB each frame is raised; None: by none.
    """
    carried = np.zeros(_CONTEXT, np.float32)
    left = voice.samples
    try:
        with path.open("rb") as file:
            file.seek(2 * voice.file_start)
            while left:
                take = min(left, _SLAB * FRAME)
                body = file.read(2 * take)
                if len(body) != 2 * take:
                    raise NodeFaultError(
                        f"the decoded audio ended {2 * left - len(body)} bytes early: the scratch disk lost data"
                    )
                tail = np.zeros(-take % FRAME, np.float32)
                row = np.concatenate([carried, np.frombuffer(body, "<i2").astype(np.float32), tail])
                carried = row[-_CONTEXT:]
                if gains is not None:
                    row = _raised(row, voice.samples - left - _CONTEXT, gains)
                left -= take
                yield np.lib.stride_tricks.sliding_window_view(row, _CONTEXT + FRAME)[::FRAME]
    except OSError as error:
        raise NodeFaultError(f"the decoded audio cannot be read from the scratch disk: {error.strerror}") from error
