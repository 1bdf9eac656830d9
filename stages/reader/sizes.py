# SPDX-License-Identifier: Apache-2.0
"""Files of samples (AIFF, AU, CAF, Wave64) whose head says that there are fewer than there are, read to the end."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

__all__ = ["MendedFile", "SizeField", "wrong_size"]


#: The magic of AU files, which have no chunks; and how they write that the length is not known.
_AU, _UNKNOWN = b".snd", b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class _Chunks:
    """How a kind of file is divided.

    Attributes:
        magic: With which it begins.
        first: Where its first chunk begins.
        samples: Name of the chunk of samples.
        width: Bytes of a chunk's size.
        order: Of these bytes.
        whole: Whether a size counts the chunk's own head.
        grain: What a chunk's length is rounded up to.
    """

    magic: bytes
    first: int
    samples: bytes
    width: int
    order: Literal["big", "little"]
    whole: bool = False
    grain: int = 1

    @property
    def head(self) -> int:
        """Bytes of a chunk's head."""
        return len(self.samples) + self.width


_KINDS = (
    _Chunks(b"FORM", 12, b"SSND", 4, "big", grain=2),
    _Chunks(b"caff", 8, b"data", 8, "big"),
    _Chunks(
        bytes.fromhex("726966662e91cf11a5d628db04c10000"),
        40,
        bytes.fromhex("64617461f3acd3118cd100c04f8edb8a"),
        8,
        "little",
        whole=True,
        grain=8,
    ),
)


@dataclass(frozen=True, slots=True)
class SizeField:
    """What a file's head should say.

    Attributes:
        place: Where in the file.
        value: The bytes there.
    """

    place: int
    value: bytes


def wrong_size(path: Path, size: int) -> SizeField | None:
    """The size of the samples where a head says too little: it wrapped, or was never written. None where it is right.

    Args:
        path: The file.
        size: Its bytes.
    """
    with path.open("rb") as file:
        magic = file.read(16)
        if magic.startswith(_AU):
            begin, length = (int.from_bytes(magic[at : at + 4]) for at in (4, 8))
            return SizeField(8, _UNKNOWN) if length < size - begin else None
        kind = next((each for each in _KINDS if magic.startswith(each.magic)), None)
        if kind is None:
            return None
        file.seek(kind.first)
        while size - file.tell() >= kind.head:
            begin, name, length = _chunk(file, kind)
            if length > size - begin:
                return None  # then it is read to the file's end
            file.seek(begin + length)
            if name == kind.samples:
                if _are_chunks(file, kind, size):
                    return None
                rest = min(size - begin + kind.head * kind.whole, 256**kind.width - 2)
                return SizeField(begin - kind.width, rest.to_bytes(kind.width, kind.order))
    return None


def _chunk(file: BinaryIO, kind: _Chunks) -> tuple[int, bytes, int]:
    """Where a chunk's content begins, its name, and how many bytes lie before the next one."""
    name = file.read(len(kind.samples))
    length = int.from_bytes(file.read(kind.width), kind.order) - kind.head * kind.whole
    return file.tell(), name, max(0, -(-length // kind.grain) * kind.grain)


def _are_chunks(file: BinaryIO, kind: _Chunks, size: int) -> bool:
    """Whether the rest of a file is what may stand behind the samples: nothing much, or chunks with names."""
    while size - file.tell() >= kind.head:
        begin, name, length = _chunk(file, kind)
        if not all(32 <= letter < 127 for letter in name[:4]) or length > size - begin:
            return False
        file.seek(begin + length)
    return True


class MendedFile(io.RawIOBase):
    """A file in which some bytes are others.

    Args:
        path: The file.
        field: The bytes.
    """

    def __init__(self, path: Path, field: SizeField) -> None:
        self._file = path.open("rb", buffering=0)
        self._field = field

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """As of any file."""
        at = self._file.tell()
        content = self._file.read(size) or b""
        first = max(at, self._field.place)
        last = min(at + len(content), self._field.place + len(self._field.value))
        if first >= last:
            return content
        new = self._field.value[first - self._field.place : last - self._field.place]
        return content[: first - at] + new + content[last - at :]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def close(self) -> None:
        """As of any file."""
        self._file.close()
        super().close()
