# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import os
import socket
import ssl
import threading
import time
from dataclasses import replace
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from sqscribe.errors import (
    Cancelled,
    CancelReason,
    ErrorCode,
    JobFailedError,
    NodeFaultError,
    PermanentError,
    TransientError,
)
from stages.fetch import FetchLimits, NoAnswerError
from stages.fetch.address import AddressPolicy
from stages.fetch.client import HttpClient
from stages.fetch.credentials import Origin
from stages.fetch.watch import TransferWatch
from stages.ports import Cancellation
from worker.testing.certificates import self_signed

BODY = os.urandom(300_000)
TLS = ssl.create_default_context()


def test_a_file_comes_whole_with_its_digest(case: Any) -> None:
    source = case.fetch(case.web.serve("/talk.MP3", BODY) + "?token=secret.wav")
    assert source.path == case.folder / "source.mp3"
    assert source.path.read_bytes() == BODY
    assert source.bytes == len(BODY)
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()
    # The declared length was reserved, and no more.
    assert set(case.held.totals) == {len(BODY)}


def test_without_a_length_room_is_reserved_in_steps_and_settled_at_the_end(case: Any) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(BODY), 50_000):
            part = BODY[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    case.web.routes["/live"] = chunked
    assert case.fetch(case.web.url + "/live").path.read_bytes() == BODY
    assert case.held.totals == [case.limits.max_bytes, len(BODY)]


class Flaky:
    """Breaks off after half of what is left, as often as it is told to."""

    def __init__(self, breaks: int, **headers: str) -> None:
        self.breaks = breaks
        self.headers = headers
        self.body = BODY
        self.ranges: list[tuple[str | None, str | None]] = []

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        self.ranges.append((asked, condition))
        start = 0
        if asked and condition in self.headers.values():
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        handler.send_header("Content-Length", str(len(self.body) - start))
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        part = self.body[start:]
        if len(self.ranges) <= self.breaks:
            part = part[: len(part) // 2]
        handler.wfile.write(part)
        handler.close_connection = True


def test_a_dropped_transfer_goes_on_where_it_stopped(case: Any) -> None:
    flaky = case.web.routes["/f"] = Flaky(2, ETag='"v1"')
    source = case.fetch(case.web.url + "/f")
    assert source.path.read_bytes() == BODY
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()
    assert flaky.ranges == [(None, None), ("bytes=150000-", '"v1"'), ("bytes=225000-", '"v1"')]


def test_a_file_that_changed_meanwhile_is_fetched_anew(case: Any) -> None:
    flaky = Flaky(1, ETag='"v1"')

    def route(handler: BaseHTTPRequestHandler) -> None:
        if flaky.ranges:
            flaky.headers, flaky.body = {"ETag": '"v2"'}, BODY[::-1]
        flaky(handler)

    case.web.routes["/f"] = route
    assert case.fetch(case.web.url + "/f").path.read_bytes() == BODY[::-1]
    assert flaky.ranges[1] == ("bytes=150000-", '"v1"')


def test_without_a_strong_validator_a_dropped_transfer_starts_again(case: Any) -> None:
    flaky = case.web.routes["/f"] = Flaky(1, ETag='W/"v1"')
    assert case.fetch(case.web.url + "/f").path.read_bytes() == BODY
    assert flaky.ranges == [(None, None), (None, None)]


def test_a_body_that_is_always_too_short_is_unreachable_and_leaves_nothing(case: Any) -> None:
    flaky = case.web.routes["/f"] = Flaky(99)
    assert case.fails(case.web.url + "/f", TransientError) == ErrorCode.SOURCE_UNREACHABLE
    assert len(flaky.ranges) == case.limits.attempts


def test_an_answer_that_breaks_off_amid_its_headers_is_no_empty_file(case: Any) -> None:
    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        handler.close_connection = True

    case.web.routes["/f"] = route
    assert case.fails(case.web.url + "/f", TransientError) == ErrorCode.SOURCE_UNREACHABLE


def test_compressed_transfer_is_undone(case: Any) -> None:
    url = case.web.serve("/a.wav", gzip.compress(BODY), Content_Encoding="gzip")
    assert case.fetch(url).path.read_bytes() == BODY


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_drips_is_cut_off_without_another_try(case: Any, part: str) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        if part == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not case.web.closing.wait(0.02):
            handler.wfile.write(b"a")

    case.web.routes["/drip"] = drip
    case.limits = replace(case.limits, period=0.5, min_bytes_per_second=1000)
    began = time.monotonic()
    assert case.fails(case.web.url + "/drip", TransientError) == ErrorCode.SOURCE_UNREACHABLE
    assert time.monotonic() - began < 3
    assert len(case.web.seen) == 1


@pytest.mark.parametrize("ends_by", ["time", "cancellation"])
def test_a_handshake_that_drips_is_cut_off(case: Any, ends_by: str) -> None:
    # Given a server that takes for ever to say hello
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"\x16\x03\x03\x40\x00")
                if ends_by == "cancellation":
                    case.cancellation.cancel(CancelReason.SHUTDOWN)
                while not case.web.closing.wait(0.02):
                    connection.sendall(b"\x02")

        thread = threading.Thread(target=drip)
        thread.start()
        case.limits = replace(case.limits, period=0.5 if ends_by == "time" else 60)
        began = time.monotonic()
        case.fails(
            f"https://127.0.0.1:{listener.getsockname()[1]}/f", TransientError if ends_by == "time" else Cancelled
        )
        assert time.monotonic() - began < 3
        thread.join(5)
        assert not thread.is_alive()


def test_a_cancellation_is_heard_while_the_server_is_silent(case: Any) -> None:
    case.limits = replace(case.limits, read_timeout=60, period=60)

    def silent(_: BaseHTTPRequestHandler) -> None:
        case.cancellation.cancel(CancelReason.SHUTDOWN)
        case.web.closing.wait(30)

    case.web.routes["/silent"] = silent
    began = time.monotonic()
    case.fails(case.web.url + "/silent", Cancelled)
    assert time.monotonic() - began < 3


def test_the_watch_lets_a_wait_for_scratch_pass(case: Any) -> None:
    # Given a job that waits longer for room than a source may be silent
    case.limits = replace(case.limits, period=0.2, min_bytes_per_second=1000)
    grant = case.held.reserve

    def slowly(total: int, cancellation: Cancellation) -> None:
        if not case.held.totals:
            threading.Event().wait(0.8)
        grant(total, cancellation)

    case.held.reserve = slowly
    # Then the source is not blamed
    assert case.fetch(case.web.serve("/f", BODY)).bytes == len(BODY)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, PermanentError, ErrorCode.SOURCE_NOT_FOUND),
        (410, PermanentError, ErrorCode.SOURCE_NOT_FOUND),
        (418, PermanentError, ErrorCode.SOURCE_NOT_FOUND),
        (401, PermanentError, ErrorCode.SOURCE_FORBIDDEN),
        (403, PermanentError, ErrorCode.SOURCE_FORBIDDEN),
        (429, TransientError, ErrorCode.SOURCE_UNREACHABLE),
        (500, TransientError, ErrorCode.SOURCE_UNREACHABLE),
        (503, TransientError, ErrorCode.SOURCE_UNREACHABLE),
    ],
)
def test_what_a_status_means(case: Any, status: int, kind: type[Exception], code: ErrorCode) -> None:
    url = case.web.serve("/f", b"no", status=status)
    assert case.fails(url, kind) == code
    assert len(case.web.seen) == (case.limits.attempts if kind is TransientError else 1)


def test_messages_hold_no_query_and_no_password(case: Any) -> None:
    case.web.serve("/f", b"", status=403)
    with pytest.raises(PermanentError) as caught:
        case.fetch(f"http://user:pass@127.0.0.1:{case.web.port}/f?token=hidden")
    assert "/f answered 403" in caught.value.message
    assert not any(secret in str(caught.value) for secret in ("pass", "hidden", "user"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/f", "http://no.such.host.invalid/f"])
def test_an_unreachable_host_is_transient_and_named_as_one_that_did_not_answer(case: Any, url: str) -> None:
    def resolve(host: str, port: int, type: int) -> Any:  # noqa: A002 - getaddrinfo's own name
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return socket.getaddrinfo(host, case.web.port if port == 80 else port, type=type)

    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    url = url.replace(":1/", f":{port}/")
    with pytest.raises(NoAnswerError) as caught:
        case.fetch(url, policy=AddressPolicy(allow_private=True, resolve=resolve))
    assert isinstance(caught.value, TransientError)
    assert caught.value.code == ErrorCode.SOURCE_UNREACHABLE
    assert caught.value.host in {"127.0.0.1", "no.such.host.invalid"}
    assert list(case.folder.iterdir()) == []
    assert case.answers == []


def test_a_server_that_says_nothing_has_not_answered(case: Any) -> None:
    def mute(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    case.web.routes["/mute"] = mute
    case.fails(case.web.url + "/mute", NoAnswerError)
    assert case.answers == []


@pytest.mark.parametrize("status", [404, 403, 500, 200])
def test_any_status_is_an_answer(case: Any, status: int) -> None:
    url = case.web.serve("/f", BODY, status=status)
    with contextlib.suppress(PermanentError, TransientError):
        case.fetch(url)
    assert set(case.answers) == {("127.0.0.1", case.web.port)}


def test_a_transfer_that_breaks_off_has_been_answered(case: Any) -> None:
    case.web.routes["/f"] = Flaky(99)
    with pytest.raises(TransientError) as caught:
        case.fetch(case.web.url + "/f")
    assert not isinstance(caught.value, NoAnswerError)
    assert case.answers == [("127.0.0.1", case.web.port)] * case.limits.attempts


def test_what_is_no_http_has_come_from_somebody(case: Any) -> None:
    def nonsense(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"220 mail.test ESMTP\r\n")
        handler.close_connection = True

    case.web.routes["/f"] = nonsense
    with pytest.raises(TransientError) as caught:
        case.fetch(case.web.url + "/f")
    assert not isinstance(caught.value, NoAnswerError)


def test_of_a_redirect_to_where_nobody_is_the_first_host_has_answered(case: Any) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        target = f"http://localhost:{nobody.getsockname()[1]}/f"
        with pytest.raises(NoAnswerError) as caught:
            case.fetch(case.web.redirect("/here", target))
    assert caught.value.host == "localhost"
    assert case.answers == [("127.0.0.1", case.web.port)] * case.limits.attempts


def test_too_large_is_said_before_a_byte_is_written(case: Any) -> None:
    case.limits = replace(case.limits, max_bytes=1000)
    assert case.fails(case.web.serve("/f", BODY)) == ErrorCode.SOURCE_TOO_LARGE
    assert case.held.totals == []


def test_an_undeclared_flood_is_cut_at_the_limit(case: Any) -> None:
    case.limits = replace(case.limits, max_bytes=100_000)

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while not case.web.closing.is_set():
            handler.wfile.write(b"x" * 65536)

    case.web.routes["/flood"] = flood
    assert case.fails(case.web.url + "/flood") == ErrorCode.SOURCE_TOO_LARGE
    assert max(case.held.totals) <= 100_000


def test_a_full_disk_is_the_nodes_fault(case: Any) -> None:
    (case.folder / "source").symlink_to("/dev/full")
    case.fails(case.web.serve("/f", BODY), NodeFaultError)


def test_redirects_are_followed_and_take_no_password_to_another_host(case: Any) -> None:
    case.web.serve("/end.ogg", BODY)
    case.web.redirect("/away", f"http://media.test:{case.web.port}/end.ogg")
    case.web.redirect("/start", "/away")

    def resolve(host: str, port: int, type: int) -> Any:  # noqa: A002
        del host
        return socket.getaddrinfo("127.0.0.1", port, type=type)

    policy = AddressPolicy(allow_private=True, resolve=resolve)
    source = case.fetch(f"http://me:secret@127.0.0.1:{case.web.port}/start", policy=policy)
    assert source.path.read_bytes() == BODY
    first, second, last = case.web.seen
    assert first.headers["Authorization"] == second.headers["Authorization"] == "Basic bWU6c2VjcmV0"
    assert "Authorization" not in last.headers
    # The name is the URL's own although the address was chosen by us.
    assert last.headers["Host"] == f"media.test:{case.web.port}"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("user:p%40ss", b"user:p@ss"),
        ("user:p%3Aa%2Fss", b"user:p:a/ss"),
        ("us%40er:", b"us@er:"),
        ("user", b"user:"),
        ("%C3%BCser:%E2%82%AC", "üser:€".encode()),
        ("a:b:c", b"a:b:c"),
        ("user:50%25", b"user:50%"),
    ],
)
def test_user_and_password_are_sent_decoded(case: Any, written: str, sent: bytes) -> None:
    case.web.serve("/f", BODY)
    case.fetch(f"http://{written}@127.0.0.1:{case.web.port}/f")
    assert base64.b64decode(case.web.seen[0].headers["Authorization"].removeprefix("Basic ")) == sent


@pytest.mark.parametrize(
    ("first", "second", "goes_along"),
    [
        ("http://a.test/x", "http://a.test/y", True),
        ("http://a.test/", "https://a.test/", True),
        ("https://a.test/", "http://a.test/", False),
        ("http://a.test/", "http://b.test/", False),
        ("http://a.test/", "http://a.test:8080/", False),
        ("http://a.test:8080/", "https://a.test:8443/", False),
        ("http://a.test/", "http://sub.a.test/", False),
    ],
)
def test_where_a_password_goes_along_with_a_redirect(first: str, second: str, goes_along: bool) -> None:
    assert Origin.of(parse_url(first)).trusts(Origin.of(parse_url(second))) is goes_along


def test_a_redirect_loop_ends(case: Any) -> None:
    assert case.fails(case.web.redirect("/loop", "/loop")) == ErrorCode.SOURCE_NOT_FOUND
    assert len(case.web.seen) == case.limits.redirects + 1


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/v1/token",
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "http://2852039166/",  # the same address, written as one number
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://127.0.0.1:22/",
        "http://127.0.0.1:6667/",
    ],
)
def test_a_redirect_to_where_nobody_may_go_is_blocked_even_with_private_sources(case: Any, location: str) -> None:
    assert case.fails(case.web.redirect("/start", location)) == ErrorCode.SOURCE_BLOCKED


def test_private_addresses_are_refused_unless_allowed(case: Any) -> None:
    url = case.web.serve("/f", BODY)
    assert case.fails(url, allow_private=False) == ErrorCode.SOURCE_BLOCKED
    assert case.web.seen == []


def test_proxies_of_the_environment_are_not_asked(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert case.fetch(case.web.serve("/f", BODY)).bytes == len(BODY)


@pytest.mark.parametrize("source", ["ftp://host/x", "/etc/passwd", "file:///etc/passwd"])
def test_other_sources_are_refused(case: Any, source: str) -> None:
    assert case.fails(source) == ErrorCode.SOURCE_BLOCKED


@pytest.mark.parametrize("source", ["http://", "http://[::1", "https:///path"])
def test_what_is_no_url_is_a_bad_message(case: Any, source: str) -> None:
    assert case.fails(source) == ErrorCode.BAD_MESSAGE


def test_a_redirect_to_nonsense_leads_nowhere(case: Any) -> None:
    assert case.fails(case.web.redirect("/start", "http://[::1")) == ErrorCode.SOURCE_NOT_FOUND


class Unwatched(TransferWatch):
    """Without a thread: nothing is transferred."""

    def __init__(self) -> None:
        super().__init__(Cancellation(), 0, 1)


@given(st.text(alphabet=st.sampled_from("a1.:/@?#[]%\\ \t\u00e9-_~"), max_size=24))
def test_whatever_the_url_is_it_ends_in_an_error_of_our_own(text: str) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no")

    policy = AddressPolicy(allow_private=True, resolve=resolve)
    client = HttpClient(policy, FetchLimits(max_bytes=1), Unwatched(), TLS, "test")
    with pytest.raises(JobFailedError):
        client.open(f"http://{text}", {}, CookieJar())


def test_tls_verifies_the_name_of_the_url_at_the_checked_address(
    case: Any, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Given a server whose certificate is for media.test
    pem = self_signed(tmp_path_factory.mktemp("tls"), "media.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    case.web.server.socket = context.wrap_socket(case.web.server.socket, server_side=True)
    case.web.serve("/f", BODY)

    def resolve(host: str, port: int, type: int) -> Any:  # noqa: A002
        del host
        return socket.getaddrinfo("127.0.0.1", port, type=type)

    policy = AddressPolicy(allow_private=True, resolve=resolve)
    url = f"https://media.test:{case.web.port}/f"
    # Then it is not believed by itself, though somebody is there
    with pytest.raises(TransientError) as caught:
        case.fetch(url, policy=policy)
    assert caught.value.code == ErrorCode.SOURCE_UNREACHABLE
    assert not isinstance(caught.value, NoAnswerError)
    assert "its certificate is self-signed" in caught.value.message
    assert len(names) == 1  # another try within seconds would meet the same certificate
    assert case.answers == []
    # And with its issuer known it is, under its own name alone
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert case.fetch(url, policy=policy).path.read_bytes() == BODY
    assert set(names) == {"media.test"}
    (case.folder / "source").unlink()
    other = f"https://other.test:{case.web.port}/f"
    failure = case.failure(other, TransientError, policy=policy)
    assert failure.code == ErrorCode.SOURCE_UNREACHABLE
    assert "its certificate is for another host name" in failure.message
