# SPDX-License-Identifier: Apache-2.0
"""The two ends of a file, which tell what it is."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.disk import disk_faults

__all__ = ["Ends", "read_ends"]

#: Bytes that are read at each end.
_END = 64 * 1024
#: Bytes that are looked at between them to tell whether there is anything but zeros, and at how many places.
_PROBE, _PROBES = 4096, 32
#: No text has these.
_NO_TEXT = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f\ufffd]")

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Ends:
    """What was read of a file.

    Attributes:
        path: The file.
        size: Its bytes.
        head: Its first bytes; the whole of a small file.
        tail: Its last ones; they overlap the head where the file is small.
        zeros: Whether no byte but zeros was found, at the ends and at places between.
    """

    path: Path
    size: int
    head: bytes
    tail: bytes
    zeros: bool

    @property
    def whole(self) -> bool:
        """Whether the head is all there is."""
        return self.size == len(self.head)

    @cached_property
    def text(self) -> str | None:
        """The head as text, without white space before it; None if it is none."""
        for mark, encoding in _MARKS.items():
            if self.head.startswith(mark):
                return self.head.decode(encoding, "replace").strip("\ufeff \t\r\n")
        for encoding, zeros in (("utf-16-le", self.head[1:200:2]), ("utf-16-be", self.head[:200:2])):
            if len(self.head) > 8 and not any(zeros) and self.head[:200].count(0) == len(zeros):
                return self.head.decode(encoding, "replace").strip()
        # Half of a character may stand at the end.
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(self.head)
        if "\ufffd" in text:
            text = self.head.decode("cp1252", "replace")
            letters = sum(letter.isascii() for letter in text)
            if letters < 0.7 * len(text):
                return None
        return None if _NO_TEXT.search(text) or not text.strip() else text.strip()


def read_ends(path: Path) -> Ends:
    """Reads a file's ends.

    Raises:
        NodeFaultError: The disk is broken.
    """
    with disk_faults(), path.open("rb") as file:
        head = file.read(_END)
        size = path.stat().st_size
        file.seek(max(0, size - _END))
        tail = file.read(_END)
        zeros = not any(head) and not any(tail)
        for probe in range(1, _PROBES) if zeros and size > len(head) else ():
            file.seek(size * probe // _PROBES)
            zeros = zeros and not any(file.read(_PROBE))
    return Ends(path, size, head, tail, zeros)
