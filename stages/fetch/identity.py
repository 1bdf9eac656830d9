# SPDX-License-Identifier: Apache-2.0
"""Which file an answer is of, and which part of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from sqscribe.errors import ErrorCode, TransientError
from sqscribe.urls import redact
from stages.fetch.answer import Answer

__all__ = ["FileIdentity", "Part", "part_of"]

_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE)


class Part(NamedTuple):
    """What a `Content-Range` says; `total` is None where it does not say it."""

    first: int
    last: int
    total: int | None


def part_of(answer: Answer) -> Part:
    """The part that a 206 carries.

    Raises:
        TransientError: `source_unreachable`: it does not say, or the part makes no sense.
    """
    text = answer.headers.get("content-range", "").strip()
    match = _CONTENT_RANGE.fullmatch(text)
    if match:
        total = None if match[3] == "*" else int(match[3])
        part = Part(int(match[1]), int(match[2]), total)
        length = answer.length
        fits = length is None or answer.encoded or length == part.last - part.first + 1
        if part.first <= part.last and (total is None or part.last < total) and fits:
            return part
    raise TransientError(
        ErrorCode.SOURCE_UNREACHABLE,
        f"{redact(answer.url)} answered 206 with a part that makes no sense: {text[:80] or 'it does not say which'!r}",
    )


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """By what a later answer is known to be of the same file.

    Attributes:
        total: Bytes of the file, where they are known.
        partial: Whether the first answer carried a part of it alone, though nobody had asked for one.
    """

    total: int | None
    etag: str | None
    modified: str | None
    partial: bool

    @classmethod
    def of(cls, answer: Answer, part: Part | None) -> Self:
        """The identity that an answer shows; `part` is what it says of itself, if it is a 206.

        Raises:
            TransientError: `source_unreachable`: it declares what is no length.
        """
        total = part.total if part else answer.length
        return cls(
            None if answer.encoded else total,
            answer.headers.get("etag"),
            answer.headers.get("last-modified"),
            part is not None,
        )

    @property
    def strong(self) -> bool:
        """Whether a server can be asked for more of this very file: by a strong ETag, or a date."""
        return self.total is not None and self._validator is not None

    @property
    def resumable(self) -> bool:
        """Whether the rest of it can be asked for at all."""
        return self.strong or (self.partial and self.total is not None)

    def same(self, other: FileIdentity) -> bool:
        """Whether nothing speaks against both being of one file."""
        if None not in (self.total, other.total) and self.total != other.total:
            return False
        if self.etag and other.etag:
            return self.etag == other.etag
        return not (self.modified and other.modified) or self.modified == other.modified

    def range(self, start: int, end: int | None = None) -> dict[str, str]:
        """Headers that ask for the bytes from `start` on, up to and without `end`, of this very file."""
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        return headers | ({"If-Range": self._validator} if self._validator else {})

    @property
    def _validator(self) -> str | None:
        return self.etag if self.etag and self.etag.startswith('"') else self.modified
