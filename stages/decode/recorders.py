# SPDX-License-Identifier: Apache-2.0
"""What becomes of the sound that a reader sends: one recording of all channels, or one of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from stages.decode.mixing import Mixer
from stages.decode.pcm import PcmWriter
from stages.reader.wire import Form

__all__ = ["SILENT_PEAK", "MixingRecorder", "Recorder", "SplittingRecorder", "Take"]

#: What has no louder sample has no sound: -72 dB.
SILENT_PEAK = 8
#: Samples that are compared together: 0.128 s.
_BLOCK = 2048
#: Two channels hold the same sound where their difference has less than this share of the energy of the louder one
#: (-40 dB), or less than this mean square (-84 dB): so much may an encoder make of a channel that is there twice.
_ALIKE_SHARE, _ALIKE_FLOOR = 1e-4, 4.0

_Samples = npt.NDArray[np.int16]


class Take(NamedTuple):
    """A finished recording.

    Attributes:
        path: Its PCM.
        samples: How long it is.
        channel: Which channel, from 0; None: all, mixed.
    """

    path: Path
    samples: int
    channel: int | None


class Recorder(Protocol):
    """Takes a track's sound. A context manager: after an error its files are gone."""

    @property
    def samples(self) -> int:
        """How many samples are recorded, of the part that is wanted."""

    @property
    def decoded_seconds(self) -> float:
        """Length of all that was taken, wanted or not."""

    @property
    def peak(self) -> int:
        """The loudest sample of any channel."""

    @property
    def turned_seconds(self) -> float:
        """For how long channels would have cancelled each other."""

    @property
    def alike(self) -> Sequence[tuple[int, int]]:
        """Channels of which only the second holds the sound of the first: (left out, kept)."""

    @property
    def takes(self) -> list[Take]:
        """What is to be transcribed, once all is taken; at least one."""

    def begin(self, form: Form) -> None:
        """Says how the sound that follows is laid out."""

    def lay(self, position: int, sound: bytes) -> None:
        """Takes a piece of interleaved sound, and silence up to its place."""

    def __enter__(self) -> Self:
        """Begins."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends."""


class MixingRecorder:
    """Makes one recording of all channels.

    Args:
        pcm: Where it goes; None: nowhere.
    """

    def __init__(self, pcm: PcmWriter | None) -> None:
        self._pcm = pcm
        self._mixer: Mixer | None = None
        self._turned_before = 0.0
        self.peak = 0
        self.alike: Sequence[tuple[int, int]] = ()

    def __enter__(self) -> Self:
        if self._pcm:
            self._pcm.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pcm:
            self._pcm.__exit__(kind, error, trace)

    @property
    def samples(self) -> int:
        """As `Recorder` has it."""
        return self._pcm.samples if self._pcm else 0

    @property
    def decoded_seconds(self) -> float:
        """As `Recorder` has it."""
        return self._pcm.decoded_seconds if self._pcm else 0.0

    @property
    def turned_seconds(self) -> float:
        """As `Recorder` has it."""
        return self._turned_before + (self._mixer.turned_seconds if self._mixer else 0.0)

    @property
    def takes(self) -> list[Take]:
        """As `Recorder` has it."""
        return [Take(self._pcm.path, self._pcm.samples, None)] if self._pcm else []

    def begin(self, form: Form) -> None:
        """As `Recorder` has it."""
        self._turned_before = self.turned_seconds
        self._mixer = Mixer(form.channels)

    def lay(self, position: int, sound: bytes) -> None:
        """As `Recorder` has it."""
        if self._mixer is None:
            return
        mixed = self._mixer.mix(sound)
        self.peak = max(self.peak, self._mixer.peak)
        if self._pcm:
            self._pcm.write_silence(position - self._pcm.decoded_samples)
            self._pcm.write(mixed)


class SplittingRecorder:
    """Makes a recording of each channel. A stretch with fewer channels than another leaves the last of them silent.

    Channels without sound, and those that hold the very sound of one before them, are no takes.

    Args:
        open_channel: Makes the writer of a channel's number.
    """

    def __init__(self, open_channel: Callable[[int], PcmWriter]) -> None:
        self._open_channel = open_channel
        self._writers: list[PcmWriter] = []
        self._peaks: list[int] = []
        self._pairs: set[tuple[int, int]] = set()  # channels that have held the same sound so far
        self._width = 0
        self._open = ExitStack()
        self.turned_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def samples(self) -> int:
        """As `Recorder` has it."""
        return max((writer.samples for writer in self._writers), default=0)

    @property
    def decoded_seconds(self) -> float:
        """As `Recorder` has it."""
        return max((writer.decoded_seconds for writer in self._writers), default=0.0)

    @property
    def peak(self) -> int:
        """As `Recorder` has it."""
        return max(self._peaks, default=0)

    @property
    def alike(self) -> list[tuple[int, int]]:
        """As `Recorder` has it."""
        twins = {second: first for first, second in sorted(self._pairs, reverse=True)}
        return [(second, first) for second, first in sorted(twins.items()) if self._peaks[second] >= SILENT_PEAK]

    @property
    def takes(self) -> list[Take]:
        """As `Recorder` has it."""
        twins = {channel for channel, _ in self.alike}
        takes = [Take(writer.path, writer.samples, channel) for channel, writer in enumerate(self._writers)]
        heard = [
            take
            for take, peak in zip(takes, self._peaks, strict=True)
            if take.samples and peak >= SILENT_PEAK and take.channel not in twins
        ]
        return heard or [max(takes, key=lambda take: take.samples)]

    def begin(self, form: Form) -> None:
        """As `Recorder` has it."""
        self._width = len(form.channels)
        while len(self._writers) < self._width:
            channel = len(self._writers)
            self._pairs |= {(before, channel) for before in range(channel) if self._peaks[before] < SILENT_PEAK}
            self._writers.append(self._open.enter_context(self._open_channel(channel)))
            self._peaks.append(0)

    def lay(self, position: int, sound: bytes) -> None:
        """As `Recorder` has it."""
        channels = np.ascontiguousarray(np.frombuffer(sound, "<i2").reshape(-1, self._width).T)
        for channel, samples in enumerate(channels):
            writer = self._writers[channel]
            writer.write_silence(position - writer.decoded_samples)
            writer.write(samples.tobytes())
            if len(samples):
                self._peaks[channel] = max(self._peaks[channel], int(samples.max()), -int(samples.min()))
        silence = np.zeros(channels.shape[1], np.int16)
        self._pairs = {
            pair
            for pair in self._pairs
            if _alike(*(channels[channel] if channel < self._width else silence for channel in pair))
        }


def _alike(one: _Samples, other: _Samples) -> bool:
    """Whether two channels hold the same sound, block by block."""
    if np.array_equal(one, other):
        return True
    first, second = one.astype(np.float32), other.astype(np.float32)
    starts = np.arange(0, len(first), _BLOCK)
    lengths = np.diff(starts, append=len(first))
    difference, *energies = (np.add.reduceat(sound * sound, starts) for sound in (first - second, first, second))
    allowed = np.maximum(_ALIKE_SHARE * np.maximum(*energies), _ALIKE_FLOOR * lengths)
    return bool((difference <= allowed).all())
