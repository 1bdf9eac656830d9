# SPDX-License-Identifier: Apache-2.0
"""Servers that break off, change the file, or send another part of it than they were asked for."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sqscribe.errors import ErrorCode, PermanentError, TransientError
from worker.testing.served import Served

BODY = os.urandom(300_000)
OTHER = os.urandom(300_000)


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, *headers: tuple[str, str]) -> None:
    """An answer of any kind, behind which the connection is closed."""
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


def part(first: int, last: int, total: int | str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Range", f"bytes {first}-{last}/{total}"),
        ("Content-Length", str(last - first + 1)),
        *(more or (("ETag", '"v1"'),)),
    )


def test_a_transfer_that_advances_each_time_comes_to_its_end(case: Any) -> None:
    # Given a server that breaks every connection off after 20 kB, and three tries
    case.web.routes["/f"] = served = Served(BODY, breaks_after=20_000)
    # When the file takes fifteen
    source = case.fetch(case.web.url + "/f")
    # Then it comes whole, and no byte of it twice
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()
    assert served.asked == [None, *(f"bytes={start}-" for start in range(20_000, 300_000, 20_000))]


def test_a_date_is_as_good_as_an_etag(case: Any) -> None:
    when = "Wed, 21 Oct 2026 07:28:00 GMT"
    asked = []

    def route(handler: BaseHTTPRequestHandler) -> None:
        asked.append((handler.headers.get("Range"), handler.headers.get("If-Range")))
        if len(asked) == 1:
            send(handler, 200, BODY[:1000], ("Content-Length", "300000"), ("Last-Modified", when))
        else:
            send(handler, 206, BODY[1000:], *part(1000, 299_999, 300_000, ("Last-Modified", when)))

    case.web.routes["/f"] = route
    assert case.fetch(case.web.url + "/f").path.read_bytes() == BODY
    assert asked == [(None, None), ("bytes=1000-", when)]


def resumed_with(case: Any, answer: Callable[[BaseHTTPRequestHandler], None]) -> str:
    """A file of which the first connection brings 1,000 bytes, and the others what `answer` sends."""
    asked: list[str | None] = []

    def route(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers.get("Range"))
        if asked[-1] is None:
            broken = len(asked) == 1
            send(handler, 200, BODY[:1000] if broken else BODY, ("Content-Length", "300000"), ("ETag", '"v1"'))
        else:
            answer(handler)

    case.web.routes["/f"] = route
    return f"{case.web.url}/f"


@pytest.mark.parametrize(
    "headers",
    [
        part(0, 299_999, 300_000),  # begins elsewhere
        part(500, 299_999, 300_000),
        part(2000, 299_999, 300_000),
        part(1000, 299_999, 400_000),  # of a file of another size
        part(1000, 299_999, 300_000, ("ETag", '"v2"')),  # of another version
        (("Content-Length", "299000"),),  # of which nobody knows where it belongs
        (("Content-Range", "bytes 1000-299999/200000"), ("Content-Length", "299000")),
        (("Content-Range", "bytes 1000-299999/300000"), ("Content-Length", "1000")),
        (("Content-Range", "nonsense"), ("Content-Length", "1000")),
        (("Content-Type", "multipart/byteranges; boundary=x"), ("Content-Length", "1000")),
    ],
)
def test_a_part_that_does_not_fit_is_never_spliced(case: Any, headers: tuple[tuple[str, str], ...]) -> None:
    url = resumed_with(case, lambda handler: send(handler, 206, OTHER, *headers))
    assert case.fetch(url).path.read_bytes() == BODY


def test_a_server_that_ignores_ranges_sends_all_of_it_again(case: Any) -> None:
    whole = (("Content-Length", "300000"), ("ETag", '"v1"'))
    url = resumed_with(case, lambda handler: send(handler, 200, BODY, *whole))
    assert case.fetch(url).path.read_bytes() == BODY


def test_a_file_that_shrank_is_fetched_anew(case: Any) -> None:
    url = resumed_with(case, lambda handler: send(handler, 416, b"", ("Content-Range", "bytes */10")))
    assert case.fetch(url).path.read_bytes() == BODY


def test_a_file_that_keeps_changing_has_changed(case: Any) -> None:
    versions = iter(range(1000))

    def route(handler: BaseHTTPRequestHandler) -> None:
        etag = ("ETag", f'"v{next(versions)}"')
        send(handler, 200, BODY[:1000], ("Content-Length", "300000"), etag)

    case.web.routes["/f"] = route
    assert case.fails(case.web.url + "/f", TransientError) == ErrorCode.SOURCE_CHANGED
    assert len(case.web.seen) == case.limits.changes + 2


@pytest.mark.parametrize("validator", [(("ETag", '"v1"'),), ()])
def test_of_a_part_that_nobody_asked_for_the_rest_is_asked_for(case: Any, validator: Any) -> None:
    def route(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        end = min(start + 100_000, 300_000)
        handler.send_response(206)
        for name, value in part(start, end - 1, 300_000, *(validator or (("Server", "odd"),))):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(BODY[start:end])

    case.web.routes["/f"] = route
    assert case.fetch(case.web.url + "/f").path.read_bytes() == BODY


@pytest.mark.parametrize(("first", "total"), [(0, 300_000), (100_000, 300_000), (0, "*")])
def test_a_part_that_is_all_that_comes_is_never_the_whole(case: Any, first: int, total: int | str) -> None:
    third = part(first, first + 99_999, total)
    case.web.routes["/f"] = lambda handler: send(handler, 206, BODY[first : first + 100_000], *third)
    assert case.fails(case.web.url + "/f", TransientError) == ErrorCode.SOURCE_UNREACHABLE


@pytest.mark.parametrize(
    "lengths",
    [("300001",), ("400000",), ("-5",), ("300000", "300001"), ("1e5",), ("0x493e0",), ("",)],
)
def test_a_length_that_is_a_lie_is_a_broken_transfer(case: Any, lengths: tuple[str, ...]) -> None:
    def route(handler: BaseHTTPRequestHandler) -> None:
        lines = "".join(f"Content-Length: {length}\r\n" for length in lengths)
        handler.wfile.write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + BODY)
        handler.close_connection = True

    case.web.routes["/f"] = route
    assert case.fails(case.web.url + "/f", TransientError) == ErrorCode.SOURCE_UNREACHABLE


def test_a_length_that_is_said_twice_is_believed(case: Any) -> None:
    twice = (("Content-Length", "300000"),) * 2
    case.web.routes["/f"] = lambda handler: send(handler, 200, BODY, *twice)
    assert case.fetch(case.web.url + "/f").bytes == 300_000


TEXT = b"so that it can be compressed " * 20_000


def deflated(body: bytes) -> bytes:
    raw = zlib.compressobj(wbits=-15)
    return raw.compress(body) + raw.flush()


COMPRESSED = [
    ("gzip", gzip.compress(TEXT, mtime=0)),
    ("x-gzip", gzip.compress(TEXT, mtime=0)),
    ("gzip", gzip.compress(TEXT[:1000], mtime=0) + gzip.compress(TEXT[1000:], mtime=0)),
    ("gzip", gzip.compress(TEXT, mtime=0) + b"\0" * 512),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", deflated(TEXT)),
    ("deflate, gzip", gzip.compress(zlib.compress(TEXT), mtime=0)),
    ("identity", TEXT),
]


@pytest.mark.parametrize(("encoding", "body"), COMPRESSED)
def test_what_is_sent_compressed_is_undone(case: Any, encoding: str, body: bytes) -> None:
    case.web.routes["/f"] = lambda handler: send(handler, 200, body, ("Content-Encoding", encoding))
    assert case.fetch(case.web.url + "/f").path.read_bytes() == TEXT


@pytest.mark.parametrize(("encoding", "body"), [row for row in COMPRESSED if row[0] != "identity"])
def test_what_is_sent_compressed_and_breaks_off_is_not_the_whole(case: Any, encoding: str, body: bytes) -> None:
    cut = body[: len(body.rstrip(b"\0")) * 2 // 3]
    case.web.routes["/f"] = lambda handler: send(handler, 200, cut, ("Content-Encoding", encoding))
    failure = case.failure(case.web.url + "/f", TransientError)
    assert failure.code == ErrorCode.SOURCE_UNREACHABLE
    assert failure.message.endswith("the compressed body broke off")


def test_what_is_compressed_in_an_unknown_way_is_said_to_be(case: Any) -> None:
    case.web.routes["/f"] = lambda handler: send(handler, 200, b"\x8b\x00", ("Content-Encoding", "br"))
    failure = case.failure(case.web.url + "/f")
    assert failure.code == ErrorCode.MEDIA_UNREADABLE
    assert "compressed as br" in failure.message


def test_a_damaged_body_is_a_broken_transfer(case: Any) -> None:
    damaged = bytearray(gzip.compress(TEXT))
    damaged[30:60] = b"\xff" * 30
    case.web.routes["/f"] = lambda handler: send(handler, 200, bytes(damaged), ("Content-Encoding", "gzip"))
    assert case.fails(case.web.url + "/f", TransientError) == ErrorCode.SOURCE_UNREACHABLE


def test_a_bomb_is_cut_at_the_limit(case: Any) -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 200_000_000, 9), 9)
    encoding = ("Content-Encoding", "gzip, gzip")
    case.web.routes["/f"] = lambda handler: send(handler, 200, bomb, encoding)
    assert case.fails(case.web.url + "/f", PermanentError) == ErrorCode.SOURCE_TOO_LARGE
    assert max(case.held.totals) <= case.limits.max_bytes


def test_no_fetch_makes_more_requests_than_it_may(case: Any) -> None:
    case.limits = replace(case.limits, requests=10)
    case.web.routes["/f"] = served = Served(BODY, breaks_after=1000)
    failure = case.failure(case.web.url + "/f", TransientError)
    assert "10 requests" in failure.message
    assert len(served.asked) == 10


def test_no_fetch_brings_more_bytes_than_it_may(case: Any) -> None:
    case.limits = replace(case.limits, max_bytes=400_000, attempts=20)
    # Given a server that breaks off just before the end, and has no ranges
    case.web.routes["/f"] = lambda handler: send(handler, 200, bytes(399_999), ("Content-Length", "400000"))
    failure = case.failure(case.web.url + "/f", TransientError)
    # Then it is not asked twenty times
    assert "bytes in all tries together" in failure.message
    assert len(case.web.seen) == 5
