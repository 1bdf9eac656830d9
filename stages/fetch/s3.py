# SPDX-License-Identifier: Apache-2.0
"""Objects in S3 and its look-alikes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from sqscribe.urls import ObjectUrl
from stages.fetch.http import CHUNK
from stages.fetch.request import FetchLimits, FetchRequest
from stages.fetch.retry import retrying
from stages.fetch.watch import TransferWatch
from stages.fetch.writer import SourceWriter
from stages.ports import Cancellation
from stages.refusals import broken_off, source_error, words

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Download"]


class _DroppedError(Exception):
    """The body broke off; botocore repeats requests, but not the reading of a body."""


class S3Download:
    """One object on its way to disk. A dropped body goes on where it stopped, guarded by the object's ETag."""

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
        self._target = target
        self._version_id = request.version_id
        self._etag = _quoted(request.etag) if request.etag else None
        self._client = client
        self._writer = writer
        self._watch = watch
        self._limits = limits

    def run(self, cancellation: Cancellation) -> None:
        """Brings the whole object.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The store cannot be reached or does not know this worker, or the disk failed.
            PermanentError: `source_not_found`, `source_forbidden`, `source_too_large`, `bad_message`.
            TransientError: `source_changed`: the object is no longer the one of the event, or changed on the way.
        """
        worth = retrying(self._limits, cancellation, lambda error: isinstance(error, _DroppedError))
        try:
            worth(self._attempt)
        except _DroppedError as error:
            raise broken_off(self._url, self._limits.attempts, str(error)) from error

    def _attempt(self) -> None:
        self._watch.restart()
        arguments: dict[str, Any] = {"Bucket": self._target.bucket, "Key": self._target.key}
        if self._version_id:
            arguments["VersionId"] = self._version_id
        elif self._etag:
            arguments["IfMatch"] = self._etag
        if self._writer.size:
            arguments["Range"] = f"bytes={self._writer.size}-"
        try:
            answer = self._client.get_object(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise source_error(self._url, error, resumed=self._writer.size > 0) from error
        body = answer["Body"]
        try:
            if not answer.get("ContentRange"):
                self._writer.restart()
            self._etag = answer["ETag"]
            total = self._writer.size + answer["ContentLength"]
            self._writer.declare(total)
            self._read(body)
        finally:
            body.close()
        if self._writer.size != total:
            raise _DroppedError(f"{self._writer.size} of {total} bytes came")

    def _read(self, body: StreamingBody) -> None:
        # The reader blocks in a socket that only urllib3's response can reach.
        stream = body._raw_stream  # type: ignore[attr-defined]  # noqa: SLF001 - StreamingBody has no other way to it
        with self._watch.guarding_with(stream.shutdown):
            self._copy(body)

    def _copy(self, body: StreamingBody) -> None:
        while True:
            try:
                chunk = body.read(CHUNK)
            except FlexibleChecksumError as error:
                self._writer.restart()
                raise _DroppedError("its checksum is wrong") from error
            except (ReadTimeoutError, ResponseStreamingError, IncompleteReadError, OSError) as error:
                self._watch.check()
                raise _DroppedError(words(error)) from error
            if not chunk:
                return
            self._writer.write(chunk)


def _quoted(etag: str) -> str:
    """As If-Match wants it; events bring ETags without their quotes."""
    return etag if etag.startswith('"') else f'"{etag}"'
