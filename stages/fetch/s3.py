# SPDX-License-Identifier: Apache-2.0
"""Objects in S3 and its look-alikes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.urls import ObjectUrl
from stages.fetch.encoding import BrokenBodyError, Decoder, UnknownEncodingError, decoder_of, encodings_of
from stages.fetch.http import CHUNK
from stages.fetch.ranges import RangeRefusedError
from stages.fetch.request import FetchLimits, FetchRequest
from stages.fetch.retry import retrying
from stages.fetch.s3_object import DroppedError, S3Body, S3Object, WrongChecksumError
from stages.fetch.s3_ranges import S3Ranges
from stages.fetch.watch import TransferWatch
from stages.fetch.writer import SourceWriter
from stages.ports import Cancellation
from stages.refusals import broken_off

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Download"]

#: Encodings that would have to be undone and are not. Whatever else people write there does not change the bytes.
_PACKED = frozenset({"br", "compress", "zstd", "x-compress"})
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_MAGIC = b"\x1f\x8b"


class S3Download:
    """One object on its way to disk.

    A dropped body goes on where it stopped, guarded by the object's version or ETag. A large one comes in several
    ranges at once. One that is stored compressed (`Content-Encoding`) is unpacked, as browsers do.
    """

    def __init__(
        self,
        target: ObjectUrl,
        request: FetchRequest,
        client: S3Client,
        writer: SourceWriter,
        watch: TransferWatch,
        limits: FetchLimits,
    ) -> None:
        self._url = str(target)
        self._object = S3Object(target, request, client, watch, limits.budget())
        self._writer = writer
        self._watch = watch
        self._limits = limits
        self._arrived = 0  # bytes of the object, as they are stored, that came in order
        self._decoder: Decoder | None = None
        self._ranges: S3Ranges | None = None  # once the object comes in several
        self._in_one = limits.connections < 2  # also once the store has sent another range than it was asked for

    def run(self, cancellation: Cancellation) -> None:
        """Brings the whole object.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The store cannot be reached or does not know this worker, or the disk failed.
            PermanentError: `source_not_found`, `source_forbidden`, `source_too_large`, `media_unreadable`,
                `bad_message`.
            TransientError: `source_changed`: the object is no longer the one of the event, or changed on the way.
        """
        repeat = retrying(
            self._limits,
            cancellation,
            lambda error: isinstance(error, DroppedError | RangeRefusedError),
            progress=self._progress,
            resting=self._watch.resting,
        )
        try:
            repeat(self._attempt)
        except DroppedError as error:
            raise broken_off(self._url, self._limits.attempts, error.why) from error

    def _progress(self) -> tuple[int]:
        return (self._ranges.done if self._ranges else self._arrived,)

    def _attempt(self) -> None:
        self._watch.restart()
        if self._ranges:
            self._bring_ranges(self._ranges)
            return
        with self._object.get(self._arrived if self._object.pinned else 0) as body:
            if body.first != self._arrived or not self._arrived:
                self._begin(body)
            if self._is_large(body):
                self._ranges = S3Ranges(self._object, body.total, self._writer, self._watch, self._limits)
                self._bring_ranges(self._ranges, body)
                return
            self._read(body)
        if self._arrived != body.total:
            raise DroppedError(f"{self._arrived} of {body.total} bytes came")
        self._finish()

    def _begin(self, body: S3Body) -> None:
        """Takes a body as the whole object; what came before is thrown away."""
        if body.first:
            raise DroppedError("the store sends another part of it than was asked for")
        self._writer.restart()
        self._arrived = 0
        self._decoder = self._decoder_of(body.encoding)
        if self._decoder is None:
            self._writer.declare(body.total)

    def _decoder_of(self, encoding: str) -> Decoder | None:
        encodings = encodings_of(encoding)
        try:
            return decoder_of(encodings) if encodings else None
        except UnknownEncodingError as error:
            if _PACKED.isdisjoint(encodings):
                return None
            raise PermanentError(
                ErrorCode.MEDIA_UNREADABLE,
                f"{self._url} is stored compressed (Content-Encoding {error}), which is not unpacked here; store it as"
                " it is, or with gzip",
            ) from error

    # -- in ranges -------------------------------------------------------------------------------------------------

    def _is_large(self, body: S3Body) -> bool:
        whole = not self._arrived and self._decoder is None and self._object.pinned
        return whole and not self._in_one and body.total >= self._limits.ranges_from

    def _bring_ranges(self, ranges: S3Ranges, begun: S3Body | None = None) -> None:
        try:
            ranges.bring(begun)
        except RangeRefusedError:
            self._ranges, self._in_one = None, True
            raise
        self._writer.fill(ranges.total)

    # -- in one piece ----------------------------------------------------------------------------------------------

    def _read(self, body: S3Body) -> None:
        try:
            while chunk := body.read(CHUNK):
                if not self._arrived and self._is_mislabelled(body.encoding, chunk):
                    self._decoder = None
                self._arrived += len(chunk)
                self._take(chunk)
        except WrongChecksumError:
            self._arrived = 0
            raise

    def _is_mislabelled(self, encoding: str, chunk: bytes) -> bool:
        """Whether an object is not packed though it is said to be: uploaders set the header once for all files."""
        encodings = encodings_of(encoding)
        return bool(encodings) and encodings[-1] in _GZIP and not chunk.startswith(_GZIP_MAGIC)

    def _take(self, chunk: bytes) -> None:
        """Writes what came, unpacked."""
        if self._decoder is None:
            self._writer.write(chunk)
            return
        try:
            self._decoder.feed(chunk)
            while plain := self._decoder.take(CHUNK):
                self._writer.write(plain)
        except BrokenBodyError as error:
            raise self._damaged(error) from error

    def _finish(self) -> None:
        if self._decoder is None:
            return
        try:
            self._decoder.finish()
        except BrokenBodyError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: BrokenBodyError) -> PermanentError:
        return PermanentError(
            ErrorCode.MEDIA_UNREADABLE,
            f"{self._url} is stored compressed (Content-Encoding), and cannot be unpacked: {error}",
        )
