# SPDX-License-Identifier: Apache-2.0
"""Bodies that are sent compressed (`Content-Encoding`), undone piece by piece and held to their end."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

__all__ = ["BrokenBodyError", "Decoder", "UnknownEncodingError", "decoder_of", "encodings_of"]

#: More than one is hardly ever meant, and each multiplies what a bomb can do.
_MOST_ENCODINGS = 3


class BrokenBodyError(Exception):
    """A compressed body that is damaged, or ends before its end."""


class UnknownEncodingError(Exception):
    """A body that nobody here can undo."""


class Decoder(Protocol):
    """Undoes an encoding; memory stays flat however much a body swells."""

    def feed(self, data: bytes) -> None:
        """Takes bytes as they were sent; only once `take` gives nothing more."""

    def take(self, limit: int) -> bytes:
        """Up to `limit` bytes as they were meant; nothing when more have to be fed.

        Raises:
            BrokenBodyError: They are damaged.
        """

    def finish(self) -> None:
        """Notes that no more are sent.

        Raises:
            BrokenBodyError: They broke off.
        """


class _Zlib:
    """gzip of one or more members, or deflate, with its proper head or, as some servers send it, without."""

    def __init__(self, *bits: int) -> None:
        self._bits = bits
        self._object = zlib.decompressobj(bits[0])
        self._data = b""
        self._begun = self._ended = False

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self, limit: int) -> bytes:
        while self._data and not self._ended:
            data = self._data
            try:
                out = self._object.decompress(data, limit)
            except zlib.error as error:
                if not self._begun and len(self._bits) > 1:
                    self._bits = self._bits[1:]
                    self._object = zlib.decompressobj(self._bits[0])
                    continue
                raise BrokenBodyError("the compressed body is damaged") from error
            self._begun = True
            self._data = self._object.unconsumed_tail
            if self._object.eof:
                self._next_member(self._object.unused_data)
            if out:
                return out
        return b""

    def finish(self) -> None:
        if not self._ended and not (self._object.eof or (not self._begun and not self._data)):
            raise BrokenBodyError("the compressed body broke off")

    def _next_member(self, rest: bytes) -> None:
        """Goes on with another gzip member; what is none, behind the first, is ignored as other programs do."""
        if rest.startswith(b"\x1f\x8b") and self._bits[0] > zlib.MAX_WBITS:
            self._object = zlib.decompressobj(self._bits[0])
            self._data = rest
        else:
            self._ended, self._data = True, b""


class _Chain:
    """Several encodings, the last one first."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def feed(self, data: bytes) -> None:
        self._decoders[0].feed(data)

    def take(self, limit: int) -> bytes:
        return self._take(len(self._decoders) - 1, limit)

    def finish(self) -> None:
        for decoder in self._decoders:
            decoder.finish()

    def _take(self, number: int, limit: int) -> bytes:
        while True:
            out = self._decoders[number].take(limit)
            if out or number == 0:
                return out
            data = self._take(number - 1, limit)
            if not data:
                return b""
            self._decoders[number].feed(data)


_MAKERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS, -zlib.MAX_WBITS),
}


def encodings_of(header: str) -> tuple[str, ...]:
    """The encodings that a `Content-Encoding` names; empty where there is nothing to undo."""
    names = (name.strip().lower() for name in header.split(","))
    return tuple(name for name in names if name not in {"", "identity", "none", "aws-chunked"})


def decoder_of(encodings: tuple[str, ...]) -> Decoder:
    """What undoes encodings.

    Raises:
        UnknownEncodingError: One is not known; the message names it.
    """
    unknown = [name for name in encodings if name not in _MAKERS]
    if unknown or len(encodings) > _MOST_ENCODINGS:
        raise UnknownEncodingError(", ".join(unknown or encodings)[:80])
    decoders = [_MAKERS[name]() for name in reversed(encodings)]
    return decoders[0] if len(decoders) == 1 else _Chain(decoders)
