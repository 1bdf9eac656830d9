# SPDX-License-Identifier: Apache-2.0
"""The addresses that a job may name as its source: which schemes there are, and how each must be written."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import assert_never
from urllib.parse import urlsplit

from sqscribe.data_urls import split_data
from sqscribe.urls import split_s3

__all__ = ["SCHEMES_SHOWN", "WEB_SCHEMES", "SourceScheme", "checked_source", "source_bucket", "source_scheme"]

#: Characters of a source; presigned URLs with session tokens have some thousands.
SOURCE_CHARACTERS = 16 * 1024

# One letter would be a drive; a blank after the colon, prose.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?=\S)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class SourceScheme(StrEnum):
    """The one list of schemes that are fetched; mypy names each place that has to know a new one."""

    HTTPS = "https"
    HTTP = "http"
    S3 = "s3"
    DATA = "data"


#: Those that lead to web servers.
WEB_SCHEMES = (SourceScheme.HTTP, SourceScheme.HTTPS)
#: All of them, for people.
SCHEMES_SHOWN = " or ".join(
    ", ".join("data:" if scheme is SourceScheme.DATA else f"{scheme}://" for scheme in SourceScheme).rsplit(", ", 1)
)


def source_scheme(source: str) -> SourceScheme | None:
    """The scheme of a source that can be fetched; None for any other, and for what is no URL."""
    head, colon, rest = source.partition(":")
    lowered = head.lower()
    if not colon or lowered not in frozenset(SourceScheme):
        return None
    scheme = SourceScheme(lowered)
    return scheme if scheme is SourceScheme.DATA or rest.startswith("//") else None


def source_bucket(source: str) -> str | None:
    """The bucket that a valid source lies in; None for one that lies in none."""
    match source_scheme(source):
        case SourceScheme.S3:
            return split_s3(source).bucket
        case SourceScheme.HTTP | SourceScheme.HTTPS | SourceScheme.DATA | None:
            return None
        case scheme:
            assert_never(scheme)


def checked_source(source: str) -> str:
    """The source with its scheme in lower case.

    One of a scheme that is not fetched passes, because it is refused with an error code of its own.

    Raises:
        ValueError: It is no URL, or its scheme wants it written otherwise; the message does not hold the source.
    """
    found = _SCHEME.match(source)
    if not found:
        raise ValueError("must be a URL: https://…, http://…, s3://bucket/key or data:audio/…;base64,…")
    lowered = found[1].lower()
    if len(source) > SOURCE_CHARACTERS and lowered != SourceScheme.DATA:
        raise ValueError(f"has {len(source)} characters; at most {SOURCE_CHARACTERS} are taken")
    scheme = SourceScheme(lowered) if lowered in frozenset(SourceScheme) else None
    match scheme:
        case SourceScheme.S3:
            if not split_s3(source).key:
                raise ValueError("must name an object: s3://bucket/key")
        case SourceScheme.HTTP | SourceScheme.HTTPS:
            _check_web(source)
        case SourceScheme.DATA:
            split_data(source)
        case None:
            pass
        case _:
            assert_never(scheme)
    return lowered + source[len(lowered) :]


def _check_web(url: str) -> None:
    if _UNPRINTABLE.search(url) or " " in url:
        raise ValueError("holds blanks or control characters; percent-encode them")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a valid URL: host or port cannot be read") from None
    if not host or "\\" in parts.netloc:
        raise ValueError("names no host")
