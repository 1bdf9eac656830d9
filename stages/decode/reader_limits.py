# SPDX-License-Identifier: Apache-2.0
"""What a reader may take, and whether it wanted more."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from sqscribe.errors import ErrorCode, PermanentError

__all__ = ["Ended", "ReaderLimits", "breach", "memory_for"]

#: Bytes of memory of its own that a reader gets for any file. With the pages of its code it stays below 300 MB. Four
#: fifths of it are never asked for by an ordinary file.
_MEMORY = 240 * 2**20
#: Most bytes for a large file: the index of a long video is kept in memory, and grows with the file.
_MOST_MEMORY = 768 * 2**20

#: What ffmpeg says when it is refused memory. It ends by that, or leaves out a damaged packet that claimed a gigabyte.
_REFUSED_MEMORY = "Cannot allocate memory"
#: Likewise, while it reads an index: it goes on with a part of it, and takes that for the whole file.
_HALF_AN_INDEX = ("Cannot add index entry", "Cannot add Time To Sample")


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What one reader may take.

    Attributes:
        timeout: Seconds that it may run, and of processor time.
        stall_timeout: Seconds that it may run without output.
        memory: Bytes of memory of its own; see `memory_for`.
    """

    timeout: float
    stall_timeout: float
    memory: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a reader ended.

    Attributes:
        returncode: Negative for a signal.
        messages: The end of what it wrote to its standard error.
        cpu_seconds: That it used.
        peak: Most bytes of memory that it held at a time.
    """

    returncode: int
    messages: str
    cpu_seconds: float
    peak: int


def memory_for(size: int) -> int:
    """Bytes of memory that decoding a file of this size may take.

    An index costs ffmpeg up to 130 bytes a frame, and no real frame is much smaller than that: in twelve hours of a
    film with 60 pictures a second, three fifths of the file's size. So what a file may use up is in proportion to what
    its sender had to send.
    """
    return min(_MEMORY + size // 4 * 3, _MOST_MEMORY)


def breach(ended: Ended, limits: ReaderLimits) -> PermanentError | None:
    """The error for a reader that wanted more than it may have; None for any other."""
    if ended.returncode == -signal.SIGXCPU:
        return PermanentError(
            ErrorCode.MEDIA_UNREADABLE,
            f"decoding was ended: it used more than {limits.timeout:.0f} s of processor time",
        )
    half = any(words in ended.messages for words in _HALF_AN_INDEX)
    if half or (ended.returncode and _REFUSED_MEMORY in ended.messages):
        return PermanentError(
            ErrorCode.MEDIA_UNREADABLE,
            f"decoding needs more than {limits.memory // 2**20} MiB of memory: the file is damaged or made to do harm, "
            "or its index is very large; send its sound alone, as MP3 or FLAC",
        )
    return None
