# SPDX-License-Identifier: Apache-2.0
"""One large file over several connections to its server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar
from urllib.parse import urlsplit

from sqscribe.errors import ErrorCode, TransientError
from sqscribe.urls import redact
from stages.fetch.answer import Answer, check_status
from stages.fetch.client import HttpClient
from stages.fetch.hosts import HostConnections
from stages.fetch.identity import FileIdentity, part_of
from stages.fetch.ranges import RangePlan, RangeRefusedError, RangeThreads, Span
from stages.fetch.request import FetchLimits
from stages.fetch.watch import TooSlowError, TransferWatch
from stages.fetch.writer import SourceWriter

__all__ = ["HttpRanges"]

#: Bytes that are asked for at a time.
_CHUNK = 256 * 1024


class HttpRanges:
    """What has come of one file in ranges; outlives the connections that break off.

    The first answer goes on as the first range. Servers that slow down each connection make the others worth it, so
    they are made only when the first has shown how long it would take alone. Where a server refuses them, the first
    takes over what they were to bring.
    """

    def __init__(
        self,
        identity: FileIdentity,
        total: int,
        client: HttpClient,
        writer: SourceWriter,
        watch: TransferWatch,
        limits: FetchLimits,
        hosts: HostConnections,
        jar: CookieJar,
    ) -> None:
        self.total = total
        self._identity = identity
        self._client = client
        self._writer = writer
        self._watch = watch
        self._limits = limits
        self._hosts = hosts
        self._jar = jar
        self._plan = RangePlan(total, limits.range_bytes)
        self._chunk = min(_CHUNK, limits.range_bytes)
        self._url = ""
        self._secrets: Mapping[str, str] = {}
        self._refused = False  # the server has refused an additional range
        self._lock = threading.Lock()  # guards _answers
        self._answers: set[Answer] = set()

    @property
    def done(self) -> int:
        """Bytes that have come."""
        return self._plan.done

    def begin(self, answer: Answer, at: int) -> None:
        """Brings the file, of which `answer` has brought the bytes before `at`; raises as `resume` does."""
        span = self._plan.take()
        if span:
            self._plan.advance(span, at)
            self._run(span, answer)

    def resume(self, url: str) -> None:
        """Brings what is missing, by way of new connections.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The disk failed.
            PermanentError: The server says that there is no such file any more.
            RangeRefusedError: The server no longer sends ranges.
            TransientError: `source_unreachable`; `source_changed`.
        """
        span = self._plan.take()
        if span is None:
            return
        try:
            answer = self._client.open(url, self._headers(span), self._jar)
        except BaseException:
            self._plan.leave(span)
            raise
        with answer:
            try:
                if answer.status not in (200, 206, 416):
                    check_status(answer)
                self._check(answer, span)
            except BaseException:
                self._plan.leave(span)
                raise
            self._run(span, answer)

    def _run(self, span: Span, answer: Answer) -> None:
        """Reads the answer, calls for more connections when it is time, and does what is left."""
        self._url, self._secrets = answer.url, answer.secrets
        with ExitStack() as stack:
            others: RangeThreads | None = None
            failure: TransientError | None = None
            due = self._due(span)
            try:
                try:
                    while not (others and others.failed) and self._advance(span, answer):
                        if others is None and due():
                            others = self._share(span, stack)
                finally:
                    self._plan.leave(span)
            except TooSlowError:
                raise
            except TransientError as error:
                failure = error
            if others and not failure:
                self._bring_left()
            if others and not (failure and failure.code is ErrorCode.SOURCE_CHANGED):
                others.wait(self._watch.check)
            if others and not failure:
                self._bring_left()  # what those that were refused have left
        if self._plan.done < self.total:
            raise failure or self._broken("broke off")

    def _bring_left(self) -> None:
        while more := self._plan.take():
            try:
                self._bring(more)
            finally:
                self._plan.leave(more)

    def _due(self, span: Span) -> Callable[[], bool]:
        """Tells whether the first connection has shown that it would take long alone."""
        began, first, after = time.monotonic(), span.at, self._limits.ranges_after

        def due() -> bool:
            spent = time.monotonic() - began
            if self._refused or spent < after:
                return False
            return (span.end - span.at) / max(span.at - first, 1) * spent > after

        return due

    def _share(self, span: Span, stack: ExitStack) -> RangeThreads:
        host = urlsplit(self._url).hostname or ""
        extra = stack.enter_context(self._hosts.more(host, self._limits.connections - 1))
        self._plan.share(span, extra + 1)
        return stack.enter_context(RangeThreads(self._plan, extra, self._bring, self._abort))

    def _bring(self, span: Span) -> None:
        headers, began = {**self._secrets, **self._headers(span)}, span.at
        try:
            with self._client.open(self._url, headers, self._jar) as answer, self._noted(answer):
                self._check(answer, span)
                while self._advance(span, answer):
                    pass
        finally:
            # A connection that brings nothing is one too many, whatever the server calls it.
            self._refused = self._refused or span.at == began < span.end

    def _headers(self, span: Span) -> dict[str, str]:
        return {"Accept-Encoding": "identity", **self._identity.range(span.at, span.end)}

    def _advance(self, span: Span, answer: Answer) -> int:
        """Brings a little of a span; gives how much it still wants."""
        wanted = self._plan.wanted(span, self._chunk)
        if not wanted:
            return 0
        chunk = answer.read(wanted)
        if not chunk:
            raise self._broken(f"broke off amid a range, at byte {span.at} of {self.total}")
        self._writer.write_at(span.at, chunk)
        return self._plan.advance(span, len(chunk))

    def _check(self, answer: Answer, span: Span) -> None:
        """Lets an answer pass that brings the span's bytes of this very file."""
        if answer.status not in (200, 206):
            self._refuse(f"answered {answer.status} to one more range")
        part = part_of(answer) if answer.status == 206 else None
        if not self._identity.same(FileIdentity.of(answer, part)):
            raise TransientError(ErrorCode.SOURCE_CHANGED, f"{redact(self._url)} changed while it was fetched")
        if part is None or part.first != span.at or answer.encoded:
            self._refuse("sends another range than was asked for")

    def _refuse(self, how: str) -> None:
        self._refused = True
        raise RangeRefusedError(ErrorCode.SOURCE_UNREACHABLE, f"{redact(self._url)} {how}")

    def _broken(self, how: str) -> TransientError:
        return TransientError(ErrorCode.SOURCE_UNREACHABLE, f"{redact(self._url)} {how}")

    @contextmanager
    def _noted(self, answer: Answer) -> Iterator[None]:
        with self._lock:
            self._answers.add(answer)
        try:
            yield
        finally:
            with self._lock:
                self._answers.discard(answer)

    def _abort(self) -> None:
        with self._lock:
            answers = list(self._answers)
        for answer in answers:
            answer.abort()
