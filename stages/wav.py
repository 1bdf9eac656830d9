# SPDX-License-Identifier: Apache-2.0
"""WAV files that hold what ffmpeg would make of them: 16-bit mono PCM at `SAMPLE_RATE`, to be copied as it is."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from stages.ports import Cancellation
from stages.values import SAMPLE_RATE

__all__ = ["PlainWav", "find_plain_wav"]

#: Bytes that are read at a time.
_PIECE = 256 * 1024
#: Chunks that are looked at; a real file has a handful.
_MOST_CHUNKS = 32
#: Chunks that say nothing about the samples: texts, marks, padding.
_NEUTRAL = frozenset({b"LIST", b"fact", b"JUNK", b"PAD ", b"FLLR", b"PEAK", b"cue ", b"smpl", b"id3 "})

#: Format tag, channels, samples and bytes a second, bytes and bits a sample.
_FORMAT = struct.Struct("<HHIIHH")
_PLAIN = (1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
_PCM, _EXTENSIBLE = 1, 0xFFFE
#: What follows in the extensible format: size, bits that count, loudspeakers, and the format tag as a GUID.
_EXTENSION = struct.Struct("<HHI16s")
_PCM_GUID = b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
#: None named, or the one in the middle: other loudspeakers are mixed to mono at another loudness.
_MONO = (0, 4)


@dataclass(frozen=True, slots=True)
class PlainWav:
    """Where in a file its samples are.

    Attributes:
        offset: Of their first byte.
        length: In bytes; even, at least 2.
    """

    path: Path
    offset: int
    length: int

    def copy(self, sink: Callable[[bytes], None], cancellation: Cancellation, most: int) -> None:
        """Hands the samples on, in order.

        Args:
            sink: Takes them.
            cancellation: Looked at before every piece.
            most: Bytes after which no more is wanted.

        Raises:
            Cancelled: The job was called off.
            NodeFaultError: The file cannot be read.
            PermanentError: `media_unreadable`: it has become shorter meanwhile.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                left = min(self.length, most)
                while left:
                    cancellation.check()
                    piece = file.read(min(_PIECE, left))
                    if not piece:
                        raise PermanentError(ErrorCode.MEDIA_UNREADABLE, "the file became shorter while it was read")
                    left -= len(piece)
                    sink(piece)
        except OSError as error:
            raise NodeFaultError(f"the source cannot be read from the disk: {error.strerror}") from error


def find_plain_wav(path: Path) -> PlainWav | None:
    """The samples of a well-formed file, or None for whatever is not: that is for ffmpeg to make sense of.

    Well-formed is one whose chunks fill it to its end, with one format and behind it one `data` chunk of whole
    samples. So one that is cut short, that was written without knowing its length (RIFF sizes 0 or all ones), RF64,
    and anything with a chunk that is not known to be harmless, goes to ffmpeg. What the harmless ones hold is not
    looked at; ffmpeg refuses a file with damaged texts.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return _samples(path, file, os.fstat(file.fileno()).st_size)
    except OSError:
        return None  # ffmpeg will say what is wrong with it


def _samples(path: Path, file: BinaryIO, size: int) -> PlainWav | None:
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        return None
    known_format, found = False, None
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at >= size:  # the padding of a last chunk is often left out
            return found
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return None
        name, length = header[:4], int.from_bytes(header[4:], "little")
        at += 8
        if length > size - at:
            return None
        if name == b"fmt " and not known_format and _is_plain(file.read(min(length, 64))):
            known_format = True
        elif name == b"data" and known_format and not found and length and length % 2 == 0:
            found = PlainWav(path, at, length)
        elif name not in _NEUTRAL:
            return None
        at += length + length % 2
    return None


def _is_plain(description: bytes) -> bool:
    if len(description) < _FORMAT.size:
        return False
    tag, *rest = _FORMAT.unpack_from(description)
    if tuple(rest) != _PLAIN:
        return False
    if tag == _PCM:
        return True
    if tag != _EXTENSIBLE or len(description) < _FORMAT.size + _EXTENSION.size:
        return False
    length, bits, speakers, guid = _EXTENSION.unpack_from(description, _FORMAT.size)
    return (length >= 22, bits, guid) == (True, 16, _PCM_GUID) and speakers in _MONO
