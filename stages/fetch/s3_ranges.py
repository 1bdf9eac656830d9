# SPDX-License-Identifier: Apache-2.0
"""One large object over several connections to its store."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from sqscribe.errors import ErrorCode, NodeFaultError
from stages.fetch.ranges import RangePlan, RangeRefusedError, RangeThreads, Span
from stages.fetch.request import FetchLimits
from stages.fetch.s3_object import DroppedError, S3Body, S3Object
from stages.fetch.watch import TransferWatch
from stages.fetch.writer import SourceWriter

__all__ = ["S3Ranges"]

#: Bytes that are asked for at a time.
_CHUNK = 256 * 1024


class S3Ranges:
    """What has come of one object in ranges; outlives the connections that break off.

    A store serves each connection so fast and no faster, so that several bring more. One that it refuses leaves its
    bytes to the others.
    """

    def __init__(
        self, source: S3Object, total: int, writer: SourceWriter, watch: TransferWatch, limits: FetchLimits
    ) -> None:
        self.total = total
        self._source = source
        self._writer = writer
        self._watch = watch
        self._extra = limits.connections - 1
        self._chunk = min(_CHUNK, limits.range_bytes)  # or a span could be cut amid what is being written
        self._plan = RangePlan(total, limits.range_bytes)
        self._lock = threading.Lock()  # guards _bodies
        self._bodies: set[S3Body] = set()

    @property
    def done(self) -> int:
        """Bytes that have come."""
        return self._plan.done

    def bring(self, begun: S3Body | None = None) -> None:
        """Brings what is missing.

        Args:
            begun: An answer with the whole object, of which nothing has been read.

        Raises:
            Cancelled: The job is called off.
            DroppedError: Something is still missing.
            NodeFaultError: The store, or the disk, failed.
            PermanentError: As `S3Object.get`.
            TransientError: `source_changed`.
        """
        span = self._plan.take()
        if span is None:
            return
        with ExitStack() as stack:
            failure: DroppedError | None = None
            try:
                body = begun or stack.enter_context(self._get(span))
                self._plan.share(span, self._extra + 1)
                threads = stack.enter_context(RangeThreads(self._plan, self._extra, self._bring_more, self._abort))
                self._copy(span, body, threads)
            except DroppedError as error:
                failure = error
            finally:
                self._plan.leave(span)
            if not failure and not threads.failed:
                self._bring_left()
            threads.wait(self._watch.check)
            if not failure:
                self._bring_left()  # what those that were refused have left
        if self.done < self.total:
            raise failure or DroppedError(f"{self.done} of {self.total} bytes came")

    def _bring_left(self) -> None:
        while span := self._plan.take():
            try:
                with self._get(span) as body:
                    self._copy(span, body)
            finally:
                self._plan.leave(span)

    def _bring_more(self, span: Span) -> None:
        """Brings a span over one more connection, which is one too many where the store has no answer to it."""
        try:
            body = self._get(span)
        except NodeFaultError as error:
            raise RangeRefusedError(ErrorCode.SOURCE_UNREACHABLE, str(error)) from error
        with body:
            with self._lock:
                self._bodies.add(body)
            try:
                self._copy(span, body)
            finally:
                with self._lock:
                    self._bodies.discard(body)

    def _get(self, span: Span) -> S3Body:
        body = self._source.get(span.at, span.end)
        if body.first != span.at or body.total != self.total:
            with body:
                raise RangeRefusedError(
                    ErrorCode.SOURCE_UNREACHABLE,
                    f"{self._source.url}: the store sends another range than was asked for",
                )
        return body

    def _copy(self, span: Span, body: S3Body, others: RangeThreads | None = None) -> None:
        while wanted := self._plan.wanted(span, self._chunk):
            if others and others.failed:
                return
            chunk = body.read(wanted)
            if not chunk:
                if span.at < span.end:
                    raise DroppedError(f"a range ended at byte {span.at} of {self.total}")
                return
            self._writer.write_at(span.at, chunk)
            self._plan.advance(span, len(chunk))

    def _abort(self) -> None:
        with self._lock:
            bodies = list(self._bodies)
        for body in bodies:
            body.abort()
