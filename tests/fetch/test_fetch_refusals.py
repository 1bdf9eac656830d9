# SPDX-License-Identifier: Apache-2.0
"""What servers say instead of the file, and what is made of it."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sqscribe.errors import ErrorCode, PermanentError, TransientError
from stages.fetch import NoAnswerError
from stages.fetch.address import AddressPolicy
from stages.fetch.reasons import reason
from stages.fetch.statuses import Meaning, meaning_of, retry_after

FORBIDDEN = {401, 402, 403, 407, 451}
AGAIN = {202, 408, 409, 420, 421, 423, 424, 425, 429, 430, 499}
BODY = b"ID3 a recording"


def raw(text: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Sends these bytes and hangs up."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(text)
        handler.close_connection = True

    return route


def expected(status: int) -> Meaning:
    if status in AGAIN or status // 100 in {1, 5}:
        return Meaning.AGAIN
    if status in FORBIDDEN:
        return Meaning.FORBIDDEN
    return Meaning.CARRIES if status // 100 == 2 and status not in {204, 205} else Meaning.MISSING


def test_the_table_knows_every_status() -> None:
    assert {status: meaning_of(status) for status in range(100, 600)} == {
        status: expected(status) for status in range(100, 600)
    }
    assert meaning_of(999) is Meaning.FORBIDDEN
    assert meaning_of(700) is Meaning.AGAIN


@pytest.mark.parametrize(
    "status", sorted({200, 203, 204, 226, 300, 301, 304, 400, 404, 410, 418, 500, 503, 530, *AGAIN})
)
def test_a_status_ends_as_the_table_says(case: Any, status: int) -> None:
    case.limits = replace(case.limits, attempts=2)
    url = case.web.serve("/f", BODY, status=status)
    match expected(status):
        case Meaning.CARRIES:
            assert case.fetch(url).path.read_bytes() == BODY
        case Meaning.AGAIN:
            assert case.fails(url, TransientError) == ErrorCode.SOURCE_UNREACHABLE
            assert len(case.web.seen) == 2
        case _:
            assert case.fails(url, PermanentError) == ErrorCode.SOURCE_NOT_FOUND
            assert len(case.web.seen) == 1


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + BODY


@pytest.mark.parametrize(
    "before", [HINTS, HINTS * 3, b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_an_announcement_is_not_the_answer(case: Any, before: bytes) -> None:
    case.web.routes["/f"] = raw(before + WHOLE)
    assert case.fetch(case.web.url + "/f").path.read_bytes() == BODY
    assert len(case.web.seen) == 1


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (HINTS * 1000, "what it sends is no HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "answered 101"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-More: of this\r\n" * 1000 + b"\r\n", "more headers than anybody needs"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", "a line of its headers is too long"),
        (b"220 mail.test ESMTP\r\n", "what answers is no HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what answers is no HTTP"),
        (b"\x16\x03\x01\x00\x05hello", "what answers is no HTTP"),
        (b"", "the connection was closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the connection broke off before the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort", "broke off"),
    ],
)
def test_a_server_that_misbehaves_is_told_in_words(case: Any, sent: bytes, words: str) -> None:
    case.web.routes["/f"] = raw(sent)
    failure = case.failure(case.web.url + "/f", TransientError)
    assert failure.code == ErrorCode.SOURCE_UNREACHABLE
    assert words in failure.message
    assert "Error" not in failure.message
    assert len(case.web.seen) == case.limits.attempts


def test_a_silent_server_is_told_in_words(case: Any) -> None:
    case.limits = replace(case.limits, read_timeout=0.2, attempts=1)
    case.web.routes["/f"] = lambda _: case.web.closing.wait(5)
    assert "nobody answered in time" in case.failure(case.web.url + "/f", NoAnswerError).message

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        case.web.closing.wait(5)

    case.web.routes["/f"] = half
    assert "it fell silent amid the answer" in case.failure(case.web.url + "/f", TransientError).message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "there is no such host"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "cannot be resolved for now"),
        (socket.gaierror(-99, "odd"), "its host name cannot be resolved"),
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens there"),
        (ConnectionResetError(104, "reset"), "the connection was reset"),
        (OSError(101, "Network is unreachable"), "no way to its network"),
        (TimeoutError("timed out"), "nobody answered in time"),
        (OSError("odd"), "the connection failed"),
    ],
)
def test_a_host_that_cannot_be_reached_is_told_in_words(case: Any, error: OSError, words: str) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise error

    case.limits = replace(case.limits, attempts=1)
    policy = AddressPolicy(allow_private=True, resolve=resolve)
    failure = case.failure("http://media.test/f?key=hidden", NoAnswerError, policy=policy)
    assert words in failure.message
    assert "Errno" not in failure.message
    assert "hidden" not in failure.message


@pytest.mark.parametrize(
    ("openssl", "words"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS"),
        ("[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version", "no version of TLS"),
        ("[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure", "no way of encryption"),
        ("[SSL: SOMETHING_NEW] something new", "the TLS connection failed"),
    ],
)
def test_a_handshake_that_fails_is_told_in_words(openssl: str, words: str) -> None:
    assert words in reason(ssl.SSLError(1, openssl))


def test_a_plain_server_behind_https_is_told_in_words(case: Any) -> None:
    case.limits = replace(case.limits, attempts=1)
    failure = case.failure(case.web.url.replace("http:", "https:") + "/f", TransientError)
    assert "may be meant for http://" in failure.message
    assert not isinstance(failure, NoAnswerError)


@pytest.mark.parametrize("status", [429, 503, 425])
def test_a_server_is_given_the_time_that_it_asks_for(case: Any, status: int) -> None:
    times: list[float] = []

    def route(handler: BaseHTTPRequestHandler) -> None:
        times.append(time.monotonic())
        if len(times) > 1:
            raw(WHOLE)(handler)
        else:
            raw(b"HTTP/1.1 %d Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n" % status)(handler)

    # A period shorter than the wait: it is not the source that is slow.
    case.limits = replace(case.limits, period=0.3)
    case.web.routes["/f"] = route
    assert case.fetch(case.web.url + "/f").path.read_bytes() == BODY
    assert times[1] - times[0] >= 1


def test_a_server_that_asks_for_a_long_time_is_left_to_the_queue(case: Any) -> None:
    began = time.monotonic()
    url = case.web.serve("/f", b"", status=429, Retry_After="3600")
    assert case.fails(url, TransientError) == ErrorCode.SOURCE_UNREACHABLE
    assert len(case.web.seen) == 1
    assert time.monotonic() - began < 2


def test_how_a_wait_is_asked_for() -> None:
    later = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30), usegmt=True)
    assert retry_after("120") == 120
    assert retry_after(later) == pytest.approx(30, abs=2)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("-5") == 0
    assert [retry_after(text) for text in (None, "", "soon", "nan", "inf", "1e999")] == [None] * 6


@pytest.mark.parametrize(
    ("kind", "name", "body", "words"),
    [
        ("audio/x-mpegurl", "list.m3u", b"http://media.test/a.mp3\n", "a playlist"),
        ("text/plain", "list.m3u", b"#EXTM3U\n#EXTINF:3,A\na.mp3\n", "an M3U playlist"),
        ("application/octet-stream", "list", b"\xef\xbb\xbf#EXTM3U\r\na.mp3\r\n", "an M3U playlist"),
        ("audio/x-scpls", "list.pls", b"[playlist]\nFile1=http://media.test/a.mp3\n", "a PLS playlist"),
        ("application/xml", "l.xspf", b"<?xml version='1.0'?>\n<playlist version='1'></playlist>", "an XSPF playlist"),
        ("video/x-ms-asx", "l.asx", b"<ASX version='3'><Entry/></ASX>", "an ASX playlist"),
    ],
)
def test_a_list_of_recordings_is_refused_at_the_first_request(
    case: Any, kind: str, name: str, body: bytes, words: str
) -> None:
    failure = case.failure(case.web.serve(f"/{name}", body, kind))
    assert failure.code == ErrorCode.MEDIA_UNREADABLE
    assert words in failure.message
    assert "send the addresses in it" in failure.message
    assert len(case.web.seen) == 1


@pytest.mark.parametrize("body", [b"ID3\x04\0\0" + bytes(100), b"\0\0\0\x20ftypM4A ", b"RIFF\0\0\0\0WAVE"])
def test_a_recording_under_the_name_or_type_of_a_list_is_one(case: Any, body: bytes) -> None:
    assert case.fetch(case.web.serve("/talk.m3u", body, "audio/x-mpegurl")).path.read_bytes() == body


def test_a_loop_that_sets_cookies_ends(case: Any) -> None:
    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"/loop?{len(case.web.seen)}")
        for number in range(20):
            handler.send_header("Set-Cookie", f"c{len(case.web.seen)}-{number}={'x' * 10}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    case.web.routes["/loop"] = route
    assert case.fails(case.web.url + "/loop") == ErrorCode.SOURCE_NOT_FOUND
    assert len(case.web.seen) == case.limits.redirects + 1
