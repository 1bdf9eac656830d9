# SPDX-License-Identifier: Apache-2.0
"""FETCH: from what a job names as its source to a media file in the scratch folder."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from sqscribe import __version__
from sqscribe.data_urls import is_data
from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.sources import SCHEMES_SHOWN, SourceScheme, source_scheme
from sqscribe.urls import redact, split_s3
from stages.fetch.address import AddressPolicy
from stages.fetch.client import HttpClient, NoAnswerError
from stages.fetch.embedded import write_embedded
from stages.fetch.hosts import HostConnections
from stages.fetch.http import HttpDownload, PageFoundError
from stages.fetch.lanes import Lanes
from stages.fetch.local import open_local
from stages.fetch.page_rules import PageRules
from stages.fetch.request import FetchLimits, FetchRequest
from stages.fetch.watch import TransferWatch
from stages.fetch.writer import SourceSpace, SourceWriter
from stages.ports import Cancellation, ScratchReserve
from stages.values import Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["FetchLimits", "FetchRequest", "Fetcher", "Lanes", "NoAnswerError", "PageRules"]

_USER_AGENT = f"sqscribe/{__version__}"


class Fetcher:
    """Fetches sources. Thread-safe: several downloaders share one.

    Args:
        s3_client_factory: Gives the client for `s3://` sources; asked once a fetch, so it may hand out a shared one.
        allow_private: Whether sources on private and loopback addresses are fetched.
        allow_local: Whether paths of this machine are sources (the command line's, never a message's).
        allowed_buckets: None for any.
        policy: Instead of the one that `allow_private` makes.
        on_answer: Told the host and port of every HTTP answer, whatever its status.
        lanes: Those of the threads that fetch; None where none waits for another.
        pages: Which pages are read, and how.
    """

    def __init__(
        self,
        limits: FetchLimits,
        s3_client_factory: Callable[[], S3Client],
        *,
        allow_private: bool = False,
        allow_local: bool = False,
        allowed_buckets: frozenset[str] | None = None,
        policy: AddressPolicy | None = None,
        on_answer: Callable[[str, int], None] = lambda _host, _port: None,
        lanes: Lanes | None = None,
        pages: PageRules | None = None,
    ) -> None:
        self._limits = limits
        self._s3_client = s3_client_factory
        self._allow_local = allow_local
        self._allowed_buckets = allowed_buckets
        self._policy = policy or AddressPolicy(allow_private)
        self._on_answer = on_answer
        self._lanes = lanes or Lanes(1, 0, rate=0)
        self._hosts = HostConnections(limits.host_connections)
        self._pages = pages or PageRules()
        self._page_policy = self._policy.through(self._pages.proxy) if self._pages.proxy else self._policy
        self._tls = ssl.create_default_context()

    def fetch(self, request: FetchRequest, folder: Path, reserve: ScratchReserve, cancellation: Cancellation) -> Source:
        """Brings the source to `folder`; memory stays flat whatever its size.

        Scratch bytes are reserved before they are written. On an error, what was written is removed.

        Returns:
            The file, named by us (only a short extension is the source's), with its digest.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The store cannot be reached, or the disk is full or broken.
            PermanentError: `source_not_found`, `source_forbidden`, `source_blocked`, `source_too_large`,
                `media_unreadable` (a page without media, a playlist), `bad_message`.
            TransientError: `source_unreachable` (`NoAnswerError` where nobody answered), `source_changed`.
        """
        cancellation.check()
        path = folder / f"source{_extension(request.source)}"
        match source_scheme(request.source):
            case SourceScheme.S3:
                return self._fetch_s3(request, path, reserve, cancellation)
            case SourceScheme.HTTP | SourceScheme.HTTPS:
                return self._fetch_http(request.source, path, reserve, cancellation)
            case SourceScheme.DATA:
                return self._fetch_embedded(request.source, path, reserve, cancellation)
            case None:
                return self._fetch_other(request.source, path, cancellation)
            case scheme:
                assert_never(scheme)

    def _fetch_other(self, source: str, path: Path, cancellation: Cancellation) -> Source:
        head, separator, _ = source.partition("://")
        if self._allow_local and (not separator or head.lower() == "file"):
            return open_local(source, path, self._limits.max_bytes, cancellation)
        raise PermanentError(ErrorCode.SOURCE_BLOCKED, f"{redact(source)} is refused; sources are {SCHEMES_SHOWN} URLs")

    def _fetch_s3(
        self, request: FetchRequest, path: Path, reserve: ScratchReserve, cancellation: Cancellation
    ) -> Source:
        from stages.fetch.s3 import S3Download  # noqa: PLC0415 - botocore is slow to import

        try:
            target = split_s3(request.source)
        except ValueError as error:
            raise PermanentError(ErrorCode.BAD_MESSAGE, f"the source {error}") from error
        if not target.key:
            raise PermanentError(ErrorCode.BAD_MESSAGE, f"the source {target} names no object: s3://bucket/key")
        if self._allowed_buckets is not None and target.bucket not in self._allowed_buckets:
            raise PermanentError(
                ErrorCode.SOURCE_BLOCKED, f"the bucket {target.bucket} is not among SQSCRIBE_ALLOWED_BUCKETS"
            )
        # No least rate: the store is the user's own, and its client has time-outs.
        with (
            self._lanes.transfer(cancellation) as transfer,
            TransferWatch(cancellation, 0, self._limits.period, rest=partial(transfer.rest, cancellation)) as watch,
        ):
            space = SourceSpace(self._limits.max_bytes, reserve, cancellation, watch)
            with SourceWriter(path, space, watch) as writer:
                S3Download(target, request, self._s3_client(), writer, watch, self._limits).run(cancellation)
                return writer.finish()

    def _fetch_embedded(self, url: str, path: Path, reserve: ScratchReserve, cancellation: Cancellation) -> Source:
        with TransferWatch(cancellation, 0, self._limits.period) as watch:
            space = SourceSpace(self._limits.max_bytes, reserve, cancellation, watch)
            with SourceWriter(path, space, watch) as writer:
                write_embedded(url, writer)
                return writer.finish()

    def _fetch_http(self, url: str, path: Path, reserve: ScratchReserve, cancellation: Cancellation) -> Source:
        limits = self._limits
        with (
            self._lanes.transfer(cancellation) as transfer,
            TransferWatch(
                cancellation,
                limits.min_bytes_per_second,
                limits.period,
                limits.transfer_seconds,
                transfer.look,
                partial(transfer.rest, cancellation),
            ) as watch,
        ):
            space = SourceSpace(limits.max_bytes, reserve, cancellation, watch)
            client = HttpClient(self._policy, limits, watch, self._tls, _USER_AGENT, self._on_answer)
            try:
                with SourceWriter(path, space, watch) as writer:
                    HttpDownload(url, client, writer, watch, limits, self._hosts).run(cancellation)
                    return writer.finish()
            except PageFoundError as found:
                page = found
            from stages.fetch.page import PageDownload  # noqa: PLC0415 - yt-dlp is heavy, and rarely needed

            client = HttpClient(
                self._page_policy, limits, watch, self._tls, _USER_AGENT, self._on_answer, client.budget
            )
            return PageDownload(url, page, client, space, watch, limits, self._pages).run(path.parent)


def _extension(source: str) -> str:
    """The extension that the source's own name ends in; it helps ffmpeg with formats that have no signature."""
    if is_data(source):
        return ""
    match = re.search(r"\.([A-Za-z0-9]{1,5})$", re.split(r"[?#]", source, maxsplit=1)[0])
    return f".{match[1].lower()}" if match else ""
