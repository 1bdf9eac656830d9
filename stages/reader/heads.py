# SPDX-License-Identifier: Apache-2.0
"""What the heads of WAV and MP3 files say of their length, where ffmpeg's libraries believe too much or too little."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["WavLength", "mp3_knows_its_length", "wav_length"]

#: Plain WAV, and those whose size has 64 bits; and what these have in the old field.
_WAVES, _LONG = (b"RIFF", b"RF64", b"BW64"), 0xFFFF_FFFF
#: Sizes from here on are what is written when the size is not known.
_PLACEHOLDER = 0x7FFF_0000
#: A first frame of MP3 is shorter.
_FIRST_FRAME = 4096
#: A file that is so much larger than its head says was joined from several.
_JOINED = 17 / 16


@dataclass(frozen=True, slots=True)
class WavLength:
    """What a WAV file says of the length of its samples.

    Attributes:
        goes_on: Whether there are samples behind what it says. The size field has 32 bits, and wraps; a recorder that
            is stopped leaves it as it was at the beginning.
        declared: Seconds; None where it does not know.
    """

    goes_on: bool
    declared: float | None


def wav_length(path: Path, size: int) -> WavLength | None:
    """What a WAV file says; None for any other file."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] not in _WAVES or head[8:] != b"WAVE":
            return None
        rate, long = 0, 0
        while len(header := file.read(8)) == 8:
            length = int.from_bytes(header[4:], "little")
            begin = file.tell()
            if header[:4] == b"fmt ":
                rate = int.from_bytes(file.read(12)[8:], "little")
            elif header[:4] == b"ds64":
                long = int.from_bytes(file.read(16)[8:], "little")
            elif header[:4] == b"data":
                if head[:4] != b"RIFF" and length == _LONG:
                    length = min(long, size)
                file.seek(begin + length + length % 2)
                goes_on = not _are_chunks(file, size)
                known = rate and 0 < length < (size if long else _PLACEHOLDER) and not goes_on
                return WavLength(goes_on, length / rate if known else None)
            file.seek(begin + length + length % 2)
    return WavLength(goes_on=False, declared=None)


def _are_chunks(file: BinaryIO, size: int) -> bool:
    """Whether the rest of a file is what may stand behind the samples: nothing much, or chunks with names."""
    while size - file.tell() > 8:
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if not all(32 <= letter < 127 for letter in header[:4]) or length > size - file.tell():
            return False
        file.seek(length + length % 2, os.SEEK_CUR)
    return True


def mp3_knows_its_length(path: Path, size: int) -> bool:
    """Whether an MP3 file counts its frames in its first one; else its length is a guess from the first frames' rate.

    A count that is for a small part of the file is that of the first of several recordings.
    """
    with path.open("rb") as file:
        tags = file.read(10)
        if tags[:3] == b"ID3":
            skipped = 0
            for letter in tags[6:10]:
                skipped = skipped << 7 | letter & 0x7F
            file.seek(10 + skipped)
        else:
            file.seek(0)
        frame = file.read(_FIRST_FRAME)
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if at >= 0:
            flags = int.from_bytes(frame[at + 4 : at + 8])
            counted = int.from_bytes(frame[at + 12 : at + 16]) if flags & 3 == 3 else size
            return bool(flags & 1) and size <= counted * _JOINED
    at = frame.find(b"VBRI")
    return at >= 0 and size <= int.from_bytes(frame[at + 10 : at + 14]) * _JOINED
