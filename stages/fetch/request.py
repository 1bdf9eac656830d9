# SPDX-License-Identifier: Apache-2.0
"""What is to be fetched, and the limits of time and size for it."""

from __future__ import annotations

from dataclasses import dataclass

from stages.fetch.budget import FetchBudget

__all__ = ["FetchLimits", "FetchRequest"]


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one fetch; durations in seconds.

    Attributes:
        max_bytes: Largest source, declared or real.
        connect_timeout: For one address, TLS included.
        read_timeout: The longest silence of a server.
        min_bytes_per_second: A source slower than this over a whole `period` is given up.
        period: What the slowness is measured over; also what a server has for its first byte.
        page_seconds: What yt-dlp has to find the media of a page, before the first byte of them.
        attempts: Tries of one fetch; a dropped transfer goes on where it stopped, if the server can.
        backoff: Wait before the second try; it doubles, with jitter, up to ten seconds.
        redirects: Hops that are followed.
        longest_retry_after: A server that asks for a longer wait before the next try (`Retry-After`) gets none: the
            job goes back to the queue.
        transfer_seconds: The longest that a transfer may take; one that would take longer at its present rate is
            given up early.
        changes: How often a file may change while it is fetched, each time beginning anew.
        requests: Of one fetch in all: redirects, tries, ranges.
        connections: That fetch one large file at once, where its server allows it.
        host_connections: Of these beyond the first of each fetch, how many go to one host, for all fetches together.
        ranges_from: Bytes from which on a file is large.
        ranges_after: Seconds that a file has to come in one piece before it is shared out, and that the rest of it
            has to be worth.
        range_bytes: No connection is made for fewer.
    """

    max_bytes: int
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    min_bytes_per_second: float = 2048.0
    period: float = 60.0
    page_seconds: float = 180.0
    attempts: int = 5
    backoff: float = 0.5
    redirects: int = 10
    longest_retry_after: float = 60.0
    transfer_seconds: float = 4 * 3600.0
    changes: int = 3
    requests: int = 12_000
    connections: int = 6
    host_connections: int = 12
    ranges_from: int = 16 * 2**20
    ranges_after: float = 1.0
    range_bytes: int = 2 * 2**20

    def budget(self) -> FetchBudget:
        """What one fetch may ask of others: its largest source twice, in as many requests."""
        return FetchBudget(self.requests, 2 * self.max_bytes + 2**20)


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One source.

    Attributes:
        source: `http(s)://`, `s3://bucket/key`, `data:`, or (command line only) a path.
        version_id: An S3 object's, from its event.
        etag: An S3 object's, from its event; ignored when there is a version.
    """

    source: str
    version_id: str | None = None
    etag: str | None = None
