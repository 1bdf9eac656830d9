# SPDX-License-Identifier: Apache-2.0
"""Media files over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.cookiejar import CookieJar

from sqscribe.errors import ErrorCode, PermanentError, TransientError
from sqscribe.urls import redact
from stages.fetch.answer import Answer, UntrustedError, check_status
from stages.fetch.budget import BudgetSpentError
from stages.fetch.client import HttpClient
from stages.fetch.hosts import HostConnections
from stages.fetch.http_ranges import HttpRanges
from stages.fetch.identity import FileIdentity, Part, part_of
from stages.fetch.playlists import could_be_playlist, is_stream
from stages.fetch.ranges import RangeRefusedError
from stages.fetch.request import FetchLimits
from stages.fetch.retry import retrying
from stages.fetch.watch import TooSlowError, TransferWatch
from stages.fetch.writer import SourceWriter
from stages.ports import Cancellation

__all__ = ["CHUNK", "HttpDownload", "PageFoundError"]

#: Bytes that are asked for at a time.
CHUNK = 256 * 1024
#: Of a playlist, which is read whole before it is known what it is.
_PLAYLIST_BYTES = 256 * 1024

#: Not media but a page about them, or a list of their pieces: work for yt-dlp.
_PAGE_TYPES = frozenset({"application/dash+xml", "application/xhtml+xml", "text/html"})


class PageFoundError(Exception):
    """The URL leads to a page.

    Attributes:
        refusal: None for a page that may be read. Some sites refuse programs, and yt-dlp knows how to ask them; this
            is what to raise if it does not know the site.
        url: Where it is, redirects followed.
        kind: Its media type.
    """

    def __init__(self, refusal: PermanentError | None, url: str, kind: str) -> None:
        super().__init__()
        self.refusal = refusal
        self.url = url
        self.kind = kind


class _ChangedError(TransientError):
    """The file is no longer the one that was begun."""


class HttpDownload:
    """One file on its way to disk.

    A transfer that drops goes on where it stopped, if the server can say that the file is still the same. A large one
    comes in several ranges at once, if the server serves them.
    """

    def __init__(
        self,
        url: str,
        client: HttpClient,
        writer: SourceWriter,
        watch: TransferWatch,
        limits: FetchLimits,
        hosts: HostConnections | None = None,
    ) -> None:
        self._url = url
        self._client = client
        self._writer = writer
        self._watch = watch
        self._limits = limits
        self._hosts = hosts or HostConnections(limits.host_connections)
        self._jar = CookieJar()
        self._identity: FileIdentity | None = None  # of what has been written so far
        self._ranges: HttpRanges | None = None  # once the file comes in several
        self._resumes = True  # no longer once the server has sent another part than it was asked for
        self._changes = 0

    def run(self, cancellation: Cancellation) -> None:
        """Brings the whole file.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The disk failed.
            PageFoundError: It is no file.
            PermanentError: `source_not_found`, `source_forbidden`, `source_blocked`, `source_too_large`,
                `media_unreadable`.
            TransientError: `source_unreachable`, after as many tries without progress as the limits give;
                `source_changed`.
        """
        repeat = retrying(
            self._limits, cancellation, self._worth_another_try, progress=self._progress, resting=self._rest
        )
        repeat(self._attempt)

    @contextmanager
    def _rest(self) -> Iterator[None]:
        with self._watch.resting():
            yield
        self._watch.check()

    def _progress(self) -> tuple[int, int]:
        return self._changes, self._kept()

    def _kept(self) -> int:
        """Bytes that another try can build on."""
        if self._ranges:
            return self._ranges.done
        resumable = self._identity is not None and self._identity.resumable and self._resumes
        return self._writer.size if resumable else 0

    def _attempt(self) -> None:
        self._watch.restart()
        if self._ranges:
            self._bring_ranges(partial(self._ranges.resume, self._url))
            return
        # Compressed transfer would make ranges and lengths mean something else.
        headers = {"Accept-Encoding": "identity"}
        start = self._kept()
        if start and self._identity:
            headers |= self._identity.range(start)
        with self._client.open(self._url, headers, self._jar) as answer:
            self._accept(answer, start)
            self._read(answer)
            # A connection that drops amid the headers looks like an answer that has none of the later ones.
            bounded = answer.length is not None or "transfer-encoding" in answer.headers or answer.encoded
        total = self._identity.total if self._identity else None
        if self._writer.size != total and (total is not None or not (bounded or self._writer.size)):
            raise self._broken(f"broke off after {self._writer.size} of {total or 'some'} bytes")

    def _broken(self, how: str) -> TransientError:
        return TransientError(ErrorCode.SOURCE_UNREACHABLE, f"{redact(self._url)} {how}")

    # -- what an answer is -----------------------------------------------------------------------------------------

    def _accept(self, answer: Answer, start: int) -> None:
        """Checks by an answer's headers that it carries the file: the rest of it from `start`, or all of it anew."""
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if start and self._identity:
            if answer.status == 416:  # asked for more of a file that has shrunk
                raise self._changed()
            if answer.status == 206:
                self._resumes = False  # until the part turns out to fit
                self._go_on(self._identity, answer, part_of(answer))
                self._resumes = True
                return
        self._check(answer, kind)
        part = part_of(answer) if answer.status == 206 else None
        if part and part.first:
            raise self._broken(f"sends a part from byte {part.first} on, though the whole was asked for")
        if part and part.total is None:
            raise self._broken("sends a part of it, though the whole was asked for, and does not say how large that is")
        identity = FileIdentity.of(answer, part)
        if self._identity and not self._identity.same(identity):
            self._changes += 1
            if self._changes > self._limits.changes:
                raise self._changed()
        self._writer.restart()
        self._identity = identity
        if identity.total is not None:
            self._writer.declare(identity.total)
        self._watch.expect(identity.total)

    def _go_on(self, identity: FileIdentity, answer: Answer, part: Part) -> None:
        if not identity.same(FileIdentity.of(answer, part)):
            raise self._changed()
        if part.first != self._writer.size or answer.encoded:
            raise self._broken(f"sends another part than was asked for: from byte {part.first} on")
        self._watch.expect((identity.total or self._writer.size) - self._writer.size)

    def _changed(self) -> _ChangedError:
        """The file is another one; the next try, if there is one, begins anew."""
        self._identity = self._ranges = None
        self._resumes = True
        self._changes += 1
        return _ChangedError(
            ErrorCode.SOURCE_CHANGED,
            f"{redact(self._url)} changed {self._changes} times while it was fetched"
            if self._changes > 1
            else f"{redact(self._url)} changed while it was fetched",
        )

    def _check(self, answer: Answer, kind: str) -> None:
        try:
            check_status(answer)
        except PermanentError as refusal:
            if kind == "text/html" and refusal.code == ErrorCode.SOURCE_FORBIDDEN:
                raise PageFoundError(refusal, answer.url, kind) from refusal
            raise
        if kind in _PAGE_TYPES:
            raise PageFoundError(None, answer.url, kind)
        if kind.startswith("multipart/"):
            raise self._broken(f"sends several parts in one ({kind}), which were not asked for")

    # -- its body --------------------------------------------------------------------------------------------------

    def _read(self, answer: Answer) -> None:
        if not self._writer.size and not self._read_first(answer):
            return
        identity = self._identity
        if identity and identity.total and self._may_share(answer, identity):
            self._ranges = HttpRanges(
                identity, identity.total, self._client, self._writer, self._watch, self._limits, self._hosts, self._jar
            )
            self._bring_ranges(partial(self._ranges.begin, answer, self._writer.size))
            return
        while chunk := answer.read(CHUNK):
            self._writer.write(chunk)

    def _read_first(self, answer: Answer) -> bytes:
        """Reads the first bytes, by which a playlist is known."""
        chunk = answer.read(CHUNK)
        if chunk and could_be_playlist(answer.url, answer.headers.get("content-type", ""), chunk):
            while len(chunk) < _PLAYLIST_BYTES and (more := answer.read(CHUNK)):
                chunk += more
            if is_stream(redact(answer.url), chunk):
                raise PageFoundError(None, answer.url, "application/vnd.apple.mpegurl")
        self._writer.write(chunk)
        return chunk

    def _may_share(self, answer: Answer, identity: FileIdentity) -> bool:
        large = (identity.total or 0) - self._writer.size >= self._limits.ranges_from
        allowed = answer.headers.get("accept-ranges", "").strip().lower() == "bytes" or answer.status == 206
        return large and allowed and identity.strong and self._resumes and self._limits.connections > 1

    def _bring_ranges(self, bring: Callable[[], None]) -> None:
        try:
            bring()
        except RangeRefusedError:
            self._ranges, self._resumes = None, False
            raise
        except TransientError as error:
            if error.code is ErrorCode.SOURCE_CHANGED:
                raise self._changed() from error
            raise
        if self._ranges:
            self._writer.fill(self._ranges.total)

    def _worth_another_try(self, error: BaseException) -> bool:
        if isinstance(error, _ChangedError):
            return self._changes <= self._limits.changes
        return isinstance(error, TransientError) and not isinstance(
            error, TooSlowError | UntrustedError | BudgetSpentError
        )
