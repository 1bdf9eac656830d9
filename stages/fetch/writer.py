# SPDX-License-Identifier: Apache-2.0
"""The source file while it comes in: hashed, capped, and never bigger than what is reserved for it."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from stages.disk import disk_faults
from stages.fetch.watch import TransferWatch
from stages.ports import Cancellation, ScratchReserve
from stages.values import Source

__all__ = ["SourceSpace", "SourceWriter"]

#: Bytes that are reserved at a time while the length of a source is unknown.
_STEP = 32 * 2**20
#: Bytes that are read back at a time.
_READ = 2**20


class SourceSpace:
    """The scratch space that one source may take; more is reserved before it is needed."""

    def __init__(
        self, max_bytes: int, reserve: ScratchReserve, cancellation: Cancellation, watch: TransferWatch
    ) -> None:
        self._max_bytes = max_bytes
        self._reserve = reserve
        self._cancellation = cancellation
        self._watch = watch
        self._reserved = 0

    def declare(self, total: int) -> None:
        """Notes that the source says it has `total` bytes, and reserves them.

        Raises:
            Cancelled: The job was called off while it waited for room.
            PermanentError: `source_too_large`.
        """
        self._check(total, "declares")
        if total > self._reserved:
            self._ask(total)

    def need(self, total: int) -> None:
        """Reserves what the file needs to grow to `total` bytes; raises as `declare` does."""
        self._check(total, "sends")
        if total > self._reserved:
            self._ask(min(total + _STEP, self._max_bytes))

    def settle(self, total: int) -> None:
        """Notes that the file is complete with `total` bytes, and gives back what was reserved beyond them."""
        self._ask(total)

    def _check(self, total: int, verb: str) -> None:
        if total > self._max_bytes:
            raise PermanentError(
                ErrorCode.SOURCE_TOO_LARGE,
                f"the source {verb} {total} bytes; SQSCRIBE_MAX_SOURCE_BYTES allows {self._max_bytes}",
            )

    def _ask(self, total: int) -> None:
        with self._watch.paused():
            self._reserve.reserve(total, self._cancellation)
        self._reserved = total


class SourceWriter:
    """Writes a source in chunks; memory stays flat. A context manager: after an error the file is gone.

    Chunks come in order, or, from several threads, at the places they belong to. What comes in order is hashed as it
    comes; what came ahead of its turn is read once more at the end.

    Attributes:
        size: Bytes that came in order; after `fill`, those of the whole file.
    """

    def __init__(self, path: Path, space: SourceSpace, watch: TransferWatch) -> None:
        self._path = path
        self._space = space
        self._watch = watch
        with disk_faults():
            self._file = path.open("w+b", buffering=0)
        self._lock = threading.Lock()  # guards the digest and how far it has come
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._empty = True
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error:
            self._path.unlink()

    def declare(self, total: int) -> None:
        """As `SourceSpace.declare`."""
        self._space.declare(total)

    def write(self, chunk: bytes) -> None:
        """Appends; raises as `write_at` does."""
        self.write_at(self.size, chunk)
        self.size += len(chunk)

    def write_at(self, place: int, chunk: bytes) -> None:
        """Writes a chunk where it belongs. Thread-safe, once the size of the file has been declared.

        Raises:
            Cancelled: The job was called off.
            NodeFaultError: The disk is full or broken.
            PermanentError: `source_too_large`.
        """
        self._watch.received(len(chunk))
        self._space.need(place + len(chunk))
        self._empty = False
        with disk_faults():
            view, at = memoryview(chunk), place
            while view:
                written = os.pwrite(self._file.fileno(), view, at)
                view, at = view[written:], at + written
        with self._lock:
            if place == self._hashed:
                self._digest.update(chunk)
                self._hashed += len(chunk)

    def fill(self, total: int) -> None:
        """Notes that every byte of a file of `total` bytes has been written, in whatever order."""
        self.size = total

    def restart(self) -> None:
        """Throws away what has come so far."""
        if self._empty:
            return
        with disk_faults():
            os.ftruncate(self._file.fileno(), 0)
        self._digest = hashlib.sha256()
        self._hashed = self.size = 0

    def finish(self) -> Source:
        """The complete file."""
        self._hash_the_rest()
        self._file.close()
        self._space.settle(self.size)
        return Source(path=self._path, bytes=self.size, sha256=self._digest.hexdigest())

    def _hash_the_rest(self) -> None:
        with disk_faults(), self._watch.paused():
            while self._hashed < self.size:
                self._watch.check()
                chunk = os.pread(self._file.fileno(), _READ, self._hashed)
                if not chunk:
                    raise NodeFaultError(f"the scratch disk lost bytes: {self._hashed} of {self.size} are there")
                self._digest.update(chunk)
                self._hashed += len(chunk)
