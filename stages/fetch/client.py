# SPDX-License-Identifier: Apache-2.0
"""HTTP requests to strangers: every hop passes the address policy and is watched."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Url, make_headers

from sqscribe.errors import ErrorCode, JobFailedError, PermanentError, TransientError
from sqscribe.urls import redact
from stages.fetch.address import AddressPolicy, port_of
from stages.fetch.request import FetchLimits
from stages.fetch.watch import TransferWatch

__all__ = ["Answer", "HttpClient", "NoAnswerError", "check_status", "refusal"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FORBIDDEN = frozenset({401, 402, 403, 407, 451})
_TRY_AGAIN = frozenset({408, 425, 429})
#: Headers that go to the origin they were meant for, and no further.
_SECRETS = frozenset({"authorization", "cookie"})


class NoAnswerError(TransientError):
    """Nobody answered: no address for the name, no connection, or no first byte. This node's network may be at fault.

    Attributes:
        host: The one that did not answer.
    """

    def __init__(self, host: str, message: str) -> None:
        super().__init__(ErrorCode.SOURCE_UNREACHABLE, message)
        self.host = host


class _Dialled:
    """Connects through the address policy.

    `_new_conn` is where urllib3 makes its socket. Everything above it (the Host header, the name that TLS sends and
    verifies) goes on to use the URL's own host, so only the address is ours. urllib3 knows of no proxy here: one from
    the environment would resolve the name itself, behind the policy's back.
    """

    dial: Callable[[], socket.socket]

    def _new_conn(self) -> socket.socket:
        return self.dial()


class _PlainConnection(_Dialled, HTTPConnection):
    pass


class _TlsConnection(_Dialled, HTTPSConnection):
    pass


class Answer:
    """A response whose body is still to be read. A context manager that closes the connection.

    Attributes:
        url: Where it came from, redirects followed.
    """

    def __init__(self, line: ExitStack, response: BaseHTTPResponse, url: str, watch: TransferWatch) -> None:
        self._line = line
        self._response = response
        self._watch = watch
        self.url = url
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; repeating it is harmless."""
        self._response.close()
        self._line.close()

    def read(self, limit: int) -> bytes:
        """What has come, up to `limit` bytes; nothing at the end.

        Raises:
            Cancelled: The job is called off.
            TransientError: `source_unreachable`: the connection broke, or the body is shorter than declared.
        """
        with line_faults(self.url, self._watch):
            chunk = self._response.read1(limit)
        if not chunk:
            self._watch.check()  # a body of unknown length ends the same way when the watch has cut it
        return chunk


class HttpClient:
    """Makes the requests of one fetch. Not thread-safe.

    Args:
        tls: Which certificates to trust; costly to build, so fetches share one.
        user_agent: What the worker calls itself.
        on_answer: Told the host and port of every answer, whatever its status.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        limits: FetchLimits,
        watch: TransferWatch,
        tls: ssl.SSLContext,
        user_agent: str,
        on_answer: Callable[[str, int], None] = lambda _host, _port: None,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._watch = watch
        self._user_agent = user_agent
        self._tls = tls
        self._on_answer = on_answer

    def open(
        self,
        url: str,
        headers: Mapping[str, str],
        jar: CookieJar,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """Sends a request and follows redirects, by itself so that each hop is checked.

        Returns:
            The answer of the last hop, whatever its status.

        Raises:
            Cancelled: The job is called off.
            PermanentError: `source_blocked`, `bad_message`; `source_not_found` for a chain without an end.
            TransientError: `source_unreachable`; `NoAnswerError` where nobody answered.
        """
        sent = {"User-Agent": self._user_agent, "Accept": "*/*", **headers}
        origin: tuple[str | None, str | None, int] | None = None
        for _ in range(self._limits.redirects + 1):
            target = self._policy.check_url(url)
            here = (target.scheme, target.host, port_of(target))
            if origin not in (None, here):
                sent = {name: value for name, value in sent.items() if name.lower() not in _SECRETS}
            origin = here
            answer = self._send(method, target, sent, jar, body)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            answer.close()
            try:
                url = urljoin(answer.url, location)
            except ValueError as error:
                raise PermanentError(
                    ErrorCode.SOURCE_NOT_FOUND, f"{redact(url)} redirects to what is no URL"
                ) from error
            if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
        raise PermanentError(
            ErrorCode.SOURCE_NOT_FOUND,
            f"{redact(url)}: more than {self._limits.redirects} redirects; the chain may be a loop",
        )

    def _send(self, method: str, target: Url, headers: Mapping[str, str], jar: CookieJar, body: bytes | None) -> Answer:
        url = target._replace(auth=None, fragment=None).url
        try:
            carrier = urllib.request.Request(url)  # noqa: S310 - never opened: the cookie jar's idea of a request
            jar.add_cookie_header(carrier)
        except ValueError as error:  # the standard library's parser is stricter here and there
            raise PermanentError(ErrorCode.BAD_MESSAGE, f"{redact(url)} is not a URL") from error
        sent = dict(headers)
        if carrier.has_header("Cookie"):
            sent["Cookie"] = carrier.get_header("Cookie", "")
        if target.auth:
            sent.update(make_headers(basic_auth=target.auth))
        with ExitStack() as line, line_faults(url, self._watch, unanswered=_host_of(target)):
            connection = self._connection(target)
            line.callback(connection.close)
            connection.connect()
            line.enter_context(self._watch.guarding(connection.sock))
            connection.sock.settimeout(self._limits.read_timeout)
            connection.request(
                method, target.request_uri, body=body, headers=sent, preload_content=False, decode_content=True
            )
            response = connection.getresponse()
            self._on_answer(_host_of(target), port_of(target))
            jar.extract_cookies(response, carrier)  # type: ignore[arg-type] # only its headers are looked at
            return Answer(line.pop_all(), response, url, self._watch)

    def _connection(self, target: Url) -> HTTPConnection:
        host, port = _host_of(target), port_of(target)
        connection: _PlainConnection | _TlsConnection
        if target.scheme == "https":
            connection = _TlsConnection(host, port, ssl_context=self._tls, timeout=self._limits.connect_timeout)
        else:
            connection = _PlainConnection(host, port, timeout=self._limits.connect_timeout)
        connection.dial = lambda: self._policy.connect(host, port, self._limits.connect_timeout)
        return connection


def _host_of(target: Url) -> str:
    return (target.host or "").strip("[]")


@contextmanager
def line_faults(url: str, watch: TransferWatch, unanswered: str | None = None) -> Iterator[None]:
    """Turns a failure of the connection into `source_unreachable`, or into what made the watch cut the line.

    Args:
        url: For the message.
        watch: What watches the line.
        unanswered: The host, as long as it has not answered: the error is a `NoAnswerError` then.
    """
    try:
        yield
    except (HTTPError, http.client.HTTPException, OSError) as error:
        watch.check()
        said = f"{redact(url)} cannot be reached or broke off: {type(error).__name__}"
        # A wrong certificate, or what is no HTTP, has come from somebody.
        if unanswered is not None and isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            raise NoAnswerError(unanswered, said) from error
        raise TransientError(ErrorCode.SOURCE_UNREACHABLE, said) from error


def check_status(answer: Answer) -> None:
    """Lets answers pass that carry the source.

    Raises:
        PermanentError: `source_forbidden`, `source_not_found`.
        TransientError: `source_unreachable`.
    """
    if not 200 <= answer.status < 300:
        raise refusal(answer.status, f"{redact(answer.url)} answered {answer.status} {answer.reason or ''}".rstrip())


def refusal(status: int, said: str) -> JobFailedError:
    """The error that an HTTP status other than success means for the job; `said` is its text."""
    if status in _FORBIDDEN:
        return PermanentError(
            ErrorCode.SOURCE_FORBIDDEN, f"{said}; make it public, or use a presigned URL that outlives the queue"
        )
    if status in _TRY_AGAIN or status >= 500:
        return TransientError(ErrorCode.SOURCE_UNREACHABLE, said)
    return PermanentError(ErrorCode.SOURCE_NOT_FOUND, said)
