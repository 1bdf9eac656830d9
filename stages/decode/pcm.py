# SPDX-License-Identifier: Apache-2.0
"""The PCM file of a job while it is written."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from sqscribe.errors import ErrorCode, PermanentError
from stages.disk import disk_faults
from stages.ports import Cancellation, ScratchReserve
from stages.values import SAMPLE_RATE

__all__ = ["SAMPLE_BYTES", "STEP", "Part", "PcmWriter", "too_long"]

SAMPLE_BYTES = 2
#: Scratch bytes that are reserved at a time: nearly nine minutes of PCM.
STEP = 16 * 2**20
#: Silence is written in pieces, so that a hole of hours takes no memory.
_SILENCE = bytes(256 * 1024)


class Part:
    """The part of a recording that is asked for, and how long it may be; in seconds.

    Attributes:
        begin: Where it begins.
        end: Where it ends; None: with the file.
        most: What it may last.
    """

    def __init__(self, start: float | None, end: float | None, most: float) -> None:
        self.begin = start or 0.0
        self.end = end
        self.most = most

    @property
    def stop(self) -> float:
        """Where decoding may end: one second behind the limit, to tell too long a recording from one that just fits."""
        stop = self.begin + self.most + 1
        return stop if self.end is None else min(stop, self.end)

    @property
    def limit(self) -> float | None:
        """Where a file that lasts longer is too long; None where the part ends before that."""
        limit = self.begin + self.most
        return limit if self.end is None or self.end > limit else None


def too_long(most: float) -> PermanentError:
    """The error for a recording that lasts longer than is allowed."""
    return PermanentError(
        ErrorCode.MEDIA_TOO_LONG,
        f"there is more than {most:g} s of audio; raise SQSCRIBE_MAX_DURATION, or ask for parts with `start` and `end`",
    )


class PcmWriter:
    """Writes the wanted part of a stream of PCM to a file. A context manager: after an error the file is gone.

    Args:
        path: The file.
        part: What of the stream is wanted.
        reserve: Asked before the file grows.
        cancellation: Ends a wait for room.
        step: Scratch bytes that are reserved at a time.
    """

    def __init__(
        self,
        path: Path,
        part: Part,
        reserve: ScratchReserve,
        cancellation: Cancellation,
        step: int,
    ) -> None:
        self.path = path
        self._step = step
        self._skip = round(part.begin * SAMPLE_RATE) * SAMPLE_BYTES
        self._stop = None if part.end is None else round(part.end * SAMPLE_RATE) * SAMPLE_BYTES
        self._most = part.most
        self._reserve = reserve
        self._cancellation = cancellation
        self._reserved = 0
        self._read = 0
        self._written = 0
        with disk_faults():
            self._file = path.open("wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error:
            self.path.unlink()

    @property
    def samples(self) -> int:
        """How many samples are in the file."""
        return self._written // SAMPLE_BYTES

    @property
    def decoded_samples(self) -> int:
        """How many samples were taken, wanted or not."""
        return self._read // SAMPLE_BYTES

    @property
    def decoded_seconds(self) -> float:
        """Length of all that was taken."""
        return self._read / SAMPLE_BYTES / SAMPLE_RATE

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes of the whole stream."""
        first = max(0, self._skip - self._read)
        last = len(chunk) if self._stop is None else max(0, self._stop - self._read)
        self._read += len(chunk)
        wanted = memoryview(chunk)[first:last]
        if not wanted:
            return
        total = self._written + len(wanted)
        if total > self._most * SAMPLE_RATE * SAMPLE_BYTES:
            raise too_long(self._most)
        if total > self._reserved:
            self._reserve.reserve(total + self._step, self._cancellation)
            self._reserved = total + self._step
        with disk_faults():
            while wanted:
                wanted = wanted[self._file.write(wanted) :]
        self._written = total

    def write_silence(self, samples: int) -> None:
        """Takes so many samples of silence."""
        left = samples * SAMPLE_BYTES
        while left > 0:
            self._cancellation.check()
            self.write(_SILENCE[:left])
            left -= len(_SILENCE)
