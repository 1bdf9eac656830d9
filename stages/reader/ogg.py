# SPDX-License-Identifier: Apache-2.0
"""Chained Ogg: recordings behind one another in one file, as web radio leaves them."""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path

__all__ = ["FileTail", "has_end", "next_link"]

_PAGE = b"OggS"
#: Where a page has its flags, and the one of a stream's first page.
_FLAGS, _FIRST = 5, 2
#: The flag of a stream's last page; where a page says how many pieces it has, whose lengths follow; its most bytes.
_LAST, _PIECES, _LONGEST = 4, 26, 65_307


def next_link(path: Path, behind: int) -> int | None:
    """Where the next recording of a chain begins.

    Args:
        path: The file.
        behind: A byte of the recording before.

    Returns:
        The offset of its first page; None when there is none.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = behind
        begun = False  # the first pages of all streams of a recording stand together
        while (at := content.find(_PAGE, at)) >= 0:
            if at + _FLAGS >= len(content):
                return None
            first = bool(content[at + _FLAGS] & _FIRST) and content[at + 4] == 0
            if first and begun:
                return at
            begun = begun or not first
            at += len(_PAGE)
    return None


def has_end(path: Path) -> bool:
    """Whether the last page of a file is the last one of its stream, and whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2 * _LONGEST))
        tail = file.read()
    at = tail.rfind(_PAGE)
    if at < 0 or at + _PIECES >= len(tail):
        return False
    lengths = tail[at + _PIECES + 1 :][: tail[at + _PIECES]]
    whole = len(tail) - at >= _PIECES + 1 + tail[at + _PIECES] + sum(lengths)
    return whole and bool(tail[at + _FLAGS] & _LAST)


class FileTail(io.RawIOBase):
    """A file from an offset on."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._offset = offset
        self._file.seek(offset)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """As of any file."""
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file; positions count from the offset."""
        return self._file.seek(offset + self._offset if whence == os.SEEK_SET else offset, whence) - self._offset

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell() - self._offset

    def close(self) -> None:
        """As of any file."""
        self._file.close()
        super().close()
