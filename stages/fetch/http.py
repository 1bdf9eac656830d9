# SPDX-License-Identifier: Apache-2.0
"""Media files over HTTP."""

from __future__ import annotations

import re
from http.cookiejar import CookieJar

from sqscribe.errors import ErrorCode, PermanentError, TransientError
from sqscribe.urls import redact
from stages.fetch.client import Answer, HttpClient, check_status
from stages.fetch.request import FetchLimits
from stages.fetch.retry import retrying
from stages.fetch.watch import TooSlowError, TransferWatch
from stages.fetch.writer import SourceWriter
from stages.ports import Cancellation

__all__ = ["CHUNK", "HttpDownload", "PageFoundError"]

#: Bytes that are asked for at a time.
CHUNK = 256 * 1024

#: Not media but a page about them, or a playlist that names their pieces: work for yt-dlp.
_PAGE_TYPES = frozenset(
    {
        "application/dash+xml",
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "application/xhtml+xml",
        "audio/mpegurl",
        "audio/x-mpegurl",
        "text/html",
    }
)


class PageFoundError(Exception):
    """The URL leads to a page.

    Attributes:
        refusal: None for a page that may be read. Some sites refuse programs, and yt-dlp knows how to ask them; this
            is what to raise if it does not know the site.
    """

    def __init__(self, refusal: PermanentError | None) -> None:
        super().__init__()
        self.refusal = refusal


class HttpDownload:
    """One file on its way to disk.

    A transfer that drops goes on where it stopped, if the server can say that the file is still the same.
    """

    def __init__(
        self, url: str, client: HttpClient, writer: SourceWriter, watch: TransferWatch, limits: FetchLimits
    ) -> None:
        self._url = url
        self._client = client
        self._writer = writer
        self._watch = watch
        self._limits = limits
        self._jar = CookieJar()
        self._validator: str | None = None  # of what has been written so far
        self._total: int | None = None

    def run(self, cancellation: Cancellation) -> None:
        """Brings the whole file.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The disk failed.
            PageFoundError: It is no file.
            PermanentError: `source_not_found`, `source_forbidden`, `source_blocked`, `source_too_large`.
            TransientError: `source_unreachable`, after as many tries as the limits give.
        """
        retrying(self._limits, cancellation, _worth_another_try)(self._attempt)

    def _attempt(self) -> None:
        self._watch.restart()
        # Compressed transfer would make ranges and lengths mean something else.
        headers = {"Accept-Encoding": "identity"}
        if self._validator and self._writer.size:
            headers["Range"] = f"bytes={self._writer.size}-"
            headers["If-Range"] = self._validator
        with self._client.open(self._url, headers, self._jar) as answer:
            self._accept(answer, resuming="Range" in headers)
            while chunk := answer.read(CHUNK):
                self._writer.write(chunk)
            # A connection that drops amid the headers looks like an answer that has none of the later ones.
            headless = not self._writer.size and self._total is None and "transfer-encoding" not in answer.headers
        if headless or self._total not in (None, self._writer.size):
            raise TransientError(
                ErrorCode.SOURCE_UNREACHABLE,
                f"{redact(self._url)} broke off after {self._writer.size} of {self._total or 'some'} bytes",
            )

    def _accept(self, answer: Answer, *, resuming: bool) -> None:
        """Checks by an answer's headers that it carries the file: the rest of it, or all of it anew."""
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if resuming and answer.status == 206 and _first_byte(answer) == self._writer.size:
            return
        self._writer.restart()
        self._validator = self._total = None
        if answer.status == 416:  # asked for more of a file that has shrunk
            raise TransientError(ErrorCode.SOURCE_UNREACHABLE, "the source changed while it was fetched")
        try:
            check_status(answer)
        except PermanentError as refusal:
            if kind == "text/html" and refusal.code == ErrorCode.SOURCE_FORBIDDEN:
                raise PageFoundError(refusal) from refusal
            raise
        if kind in _PAGE_TYPES:
            raise PageFoundError(None)
        encoded = answer.headers.get("content-encoding", "identity").lower() != "identity"
        length = answer.headers.get("content-length", "")
        if encoded or not length.isdecimal():
            return
        self._total = int(length)
        self._writer.declare(self._total)
        self._validator = _validator(answer)


def _validator(answer: Answer) -> str | None:
    """The value for If-Range, which tells a server which file is meant: a strong ETag, or a date."""
    etag = answer.headers.get("etag", "")
    return etag if etag.startswith('"') else answer.headers.get("last-modified")


def _first_byte(answer: Answer) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
    return int(match[1]) if match else None


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, TooSlowError)
