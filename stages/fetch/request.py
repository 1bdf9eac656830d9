# SPDX-License-Identifier: Apache-2.0
"""What is to be fetched, and the limits of time and size for it."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One source.

    Attributes:
        source: `http(s)://`, `s3://bucket/key`, or (command line only) a path.
        version_id: An S3 object's, from its event.
        etag: An S3 object's, from its event; ignored when there is a version.
    """

    source: str
    version_id: str | None = None
    etag: str | None = None
