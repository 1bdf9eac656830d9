# SPDX-License-Identifier: Apache-2.0
"""One object in S3 or a look-alike, read in pieces that all are of the same version."""

from __future__ import annotations

import re
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from sqscribe.errors import ErrorCode, TransientError
from sqscribe.urls import ObjectUrl
from stages.fetch.budget import FetchBudget
from stages.fetch.request import FetchRequest
from stages.fetch.watch import TransferWatch
from stages.refusals import source_error, words

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

__all__ = ["DroppedError", "S3Body", "S3Object", "WrongChecksumError"]


class DroppedError(TransientError):
    """The body broke off; botocore repeats requests, but not the reading of a body."""

    def __init__(self, why: str) -> None:
        super().__init__(ErrorCode.SOURCE_UNREACHABLE, why)
        self.why = why


class WrongChecksumError(DroppedError):
    """All of the body came, but not as it was stored: none of it can be used."""


class S3Body:
    """An answer whose body is still to be read. A context manager: it is closed at the end.

    Attributes:
        first: The place in the object of the first byte; negative where nobody can tell.
        total: Bytes of the whole object, as they are stored.
        encoding: Its `Content-Encoding`.
    """

    def __init__(self, answer: GetObjectOutputTypeDef, watch: TransferWatch) -> None:
        self._body: StreamingBody = answer["Body"]
        # The reader blocks in a socket that only urllib3's response can reach.
        self._stream: Any = self._body._raw_stream  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way
        self._watch = watch
        self._guard = watch.guarding_with(self.abort)
        self.encoding = answer.get("ContentEncoding", "")
        self.first, self.total = 0, answer["ContentLength"]
        if answer.get("ContentRange"):
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer["ContentRange"])
            self.first, self.total = (int(found[1]), int(found[2])) if found else (-1, -1)

    def __enter__(self) -> Self:
        try:
            self._guard.__enter__()
        except BaseException:
            self._body.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard.__exit__(kind, error, trace)
        self._body.close()

    def abort(self) -> None:
        """Makes whoever reads it fail at once; may be called from any thread."""
        self._stream.shutdown()

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes; nothing at the end.

        Raises:
            Cancelled: The job is called off.
            DroppedError: The body broke off; `WrongChecksumError`: it is damaged.
        """
        try:
            return self._body.read(limit)
        except FlexibleChecksumError as error:
            raise WrongChecksumError("its checksum is wrong") from error
        except (ReadTimeoutError, ResponseStreamingError, IncompleteReadError, OSError) as error:
            self._watch.check()
            raise DroppedError(words(error)) from error


class S3Object:
    """An object. The first answer settles which state of it is meant, unless the event did. Thread-safe after that."""

    def __init__(
        self, target: ObjectUrl, request: FetchRequest, client: S3Client, watch: TransferWatch, budget: FetchBudget
    ) -> None:
        self.url = str(target)
        self._budget = budget
        self._client = client
        self._watch = watch
        self._which: dict[str, Any] = {"Bucket": target.bucket, "Key": target.key}
        if request.version_id:
            self._which["VersionId"] = request.version_id
        elif request.etag:
            self._which["IfMatch"] = _quoted(request.etag)

    @property
    def pinned(self) -> bool:
        """Whether every answer is of the same bytes."""
        return not self._which.keys().isdisjoint({"VersionId", "IfMatch"})

    def get(self, first: int = 0, end: int | None = None) -> S3Body:
        """The body from byte `first` on, up to and without byte `end`; stores may send all of it instead.

        Raises:
            NodeFaultError: The store cannot be reached or does not know this worker.
            PermanentError: `source_not_found`, `source_forbidden`, `bad_message`.
            TransientError: `source_changed`: it is no longer the one that is meant. `BudgetSpentError`.
        """
        self._budget.request()
        arguments = dict(self._which)
        if first or end is not None:
            arguments["Range"] = f"bytes={first}-{'' if end is None else end - 1}"
        try:
            answer = self._client.get_object(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise source_error(self.url, error, resumed=first > 0) from error
        if not self.pinned and answer.get("ETag"):
            self._which["IfMatch"] = answer["ETag"]
        return S3Body(answer, self._watch)


def _quoted(etag: str) -> str:
    """As If-Match wants it; events bring ETags without their quotes."""
    return etag if etag.startswith('"') else f'"{etag}"'
