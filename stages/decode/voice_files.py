# SPDX-License-Identifier: Apache-2.0
"""The PCM files of a job while it is decoded, one for each voice, and the one that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sqscribe.errors import ErrorCode, PermanentError
from stages.decode.pcm import SAMPLE_BYTES, STEP, Part, PcmWriter
from stages.decode.recorders import MixingRecorder, Recorder, SplittingRecorder, Take
from stages.disk import disk_faults
from stages.ports import Cancellation, ScratchReserve
from stages.values import Voice

__all__ = ["MOST_VOICES", "VoiceFiles", "too_many"]

#: Channels and tracks of a job that are transcribed by themselves: each costs as much as a recording.
MOST_VOICES = 16
#: Scratch bytes that each file reserves at a time where there are several.
_STEP = 2**20
#: Bytes that are copied at a time.
_PIECE = 2**20


def too_many(what: str) -> PermanentError:
    """The error for a file with more voices than a job may have."""
    return PermanentError(
        ErrorCode.UNSUPPORTED_OPTION,
        f"there are more than {MOST_VOICES} {what} to transcribe each by itself; choose one track, or mix the channels",
    )


class VoiceFiles:
    """Makes recorders, and one file of what they took. A context manager: nothing else is left behind.

    A slot holds what is recorded of a track; recording anew in the same slot throws away what was there.

    Args:
        folder: The job's scratch folder.
        part: What of each track is wanted.
        held: Scratch bytes that the job takes besides.
        reserve: Asked before the files grow.
        cancellation: Ends a wait for room.
        split: Whether each channel is recorded by itself.
    """

    def __init__(
        self,
        folder: Path,
        part: Part,
        held: int,
        reserve: ScratchReserve,
        cancellation: Cancellation,
        *,
        split: bool = False,
    ) -> None:
        self._folder = folder
        self._part = part
        self._held = held
        self._reserve = reserve
        self._cancellation = cancellation
        self._split = split
        self._shares: dict[tuple[int, int], _Share] = {}  # by slot and channel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def recorder(self, slot: int = 0) -> Recorder:
        """Makes the recorder of a track.

        Raises:
            PermanentError: `unsupported_option`, from the recorder: there are too many voices.
        """
        self._discard(slot)
        if self._split:
            return SplittingRecorder(lambda channel: self._writer(slot, channel, _STEP))
        return MixingRecorder(self._writer(slot, 0, _STEP) if slot else self.writer())

    def writer(self) -> PcmWriter:
        """Makes the writer of a recording that comes as one."""
        return self._writer(0, 0, STEP)

    def join(self, takes: Sequence[tuple[int | None, Take]]) -> tuple[Path, tuple[Voice, ...]]:
        """Lays recordings behind one another.

        Args:
            takes: Each with the number of its track where that is told; none is empty.

        Returns:
            The one file, and where in it each recording lies.
        """
        voices: list[Voice] = []
        place = 0
        for track, take in takes:
            voices.append(Voice(place, take.samples, track, take.channel))
            place += take.samples
        first, *others = (take for _, take in takes)
        if others:
            # Until it has been copied, the longest of them is there twice.
            room = (place + max(take.samples for take in others)) * SAMPLE_BYTES
            self._reserve.reserve(self._held + room, self._cancellation)
        with disk_faults():
            if others:
                with first.path.open("ab", buffering=0) as file:
                    for take in others:
                        self._append(take.path, file.write)
                        take.path.unlink()
            return first.path.rename(self._folder / "audio.pcm"), tuple(voices)

    def _append(self, path: Path, write: Callable[[memoryview], int | None]) -> None:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                self._cancellation.check()
                left = memoryview(piece)
                while left:
                    left = left[write(left) or 0 :]

    def _writer(self, slot: int, channel: int, step: int) -> PcmWriter:
        if len(self._shares) >= MOST_VOICES:
            raise too_many("channels")
        share = self._shares[slot, channel] = _Share(self._ask)
        return PcmWriter(self._path(slot, channel), self._part, share, self._cancellation, step)

    def _path(self, slot: int, channel: int) -> Path:
        return self._folder / (f"audio-{slot}-{channel}.pcm.part" if slot or channel else "audio.pcm.part")

    def _discard(self, slot: int | None = None) -> None:
        for place in [place for place in self._shares if slot is None or place[0] == slot]:
            self._path(*place).unlink(missing_ok=True)
            del self._shares[place]

    def _ask(self, cancellation: Cancellation) -> None:
        total = sum(share.total for share in self._shares.values())
        self._reserve.reserve(self._held + total, cancellation)


class _Share:
    """What one of a job's files has reserved; a `ScratchReserve`."""

    def __init__(self, ask: Callable[[Cancellation], None]) -> None:
        self._ask = ask
        self.total = 0

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Asks for what the job's files need together."""
        self.total = total
        self._ask(cancellation)
