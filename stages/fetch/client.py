# SPDX-License-Identifier: Apache-2.0
"""HTTP requests to strangers: every hop passes the address policy and is watched."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http.cookiejar import CookieJar
from typing import NamedTuple
from urllib.parse import urljoin

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.urls import redact
from stages.fetch.address import AddressPolicy, port_of
from stages.fetch.answer import Answer, NoAnswerError, check_status, line_faults
from stages.fetch.budget import FetchBudget
from stages.fetch.credentials import Origin, basic_auth
from stages.fetch.request import FetchLimits
from stages.fetch.statuses import refusal
from stages.fetch.watch import TransferWatch

__all__ = ["Answer", "HttpClient", "NoAnswerError", "check_status", "refusal"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Announcements (as 103 Early Hints) that a server may send before its answer.
_MOST_HINTS = 20
#: Headers that go to the origin they were meant for, and no further.
_SECRETS = frozenset({"authorization", "cookie"})


class _Dialled:
    """Connects through the address policy.

    `_new_conn` is where urllib3 makes its socket. Everything above it (the Host header, the name that TLS sends and
    verifies) goes on to use the URL's own host, so only the address is ours. urllib3 knows of no proxy here: one from
    the environment would resolve the name itself, behind the policy's back.
    """

    dial: Callable[[], socket.socket]

    def _new_conn(self) -> socket.socket:
        return self.dial()


class _Response(http.client.HTTPResponse):
    """Reads on behind every answer that only announces another.

    http.client does so for 100 alone: https://github.com/python/cpython/issues/81274
    """

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_HINTS):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("announcements without end")


class _PlainConnection(_Dialled, HTTPConnection):
    response_class = _Response


class _TlsConnection(_Dialled, HTTPSConnection):
    response_class = _Response


class _Trip(NamedTuple):
    """What goes along from hop to hop."""

    method: str
    headers: Mapping[str, str]
    body: bytes | None
    jar: CookieJar


class HttpClient:
    """Makes the requests of one fetch. Thread-safe as far as its cookie jars are, which those of the library are.

    Args:
        tls: Which certificates to trust; costly to build, so fetches share one.
        user_agent: What the worker calls itself.
        on_answer: Told the host and port of every answer, whatever its status.
        budget: Counts the requests and bytes; None: as the limits have it.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        limits: FetchLimits,
        watch: TransferWatch,
        tls: ssl.SSLContext,
        user_agent: str,
        on_answer: Callable[[str, int], None] = lambda _host, _port: None,
        budget: FetchBudget | None = None,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._watch = watch
        self._user_agent = user_agent
        self._tls = tls
        self._on_answer = on_answer
        self.budget = budget or limits.budget()

    def open(
        self,
        url: str,
        headers: Mapping[str, str],
        jar: CookieJar,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """Sends a request and follows redirects, by itself so that each hop is checked.

        Credentials of the URL, and headers that hold any, go to the place that they were meant for and no further.

        Returns:
            The answer of the last hop, whatever its status.

        Raises:
            BudgetSpentError: The fetch may make no more requests.
            Cancelled: The job is called off.
            PermanentError: `source_blocked`, `bad_message`; `source_not_found` for a chain without an end.
            TransientError: `source_unreachable`; `NoAnswerError` where nobody answered.
        """
        trip = _Trip(method, {"User-Agent": self._user_agent, "Accept": "*/*", **headers}, body, jar)
        origin: Origin | None = None
        for _ in range(self._limits.redirects + 1):
            target = self._policy.check_url(url)
            here = Origin.of(target)
            if origin and not origin.trusts(here):
                trip = trip._replace(headers=_without_secrets(trip.headers))
            origin = here
            if target.auth:
                trip = trip._replace(headers={**trip.headers, "Authorization": basic_auth(target.auth)})
            answer = self._send(target, trip)
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
            if answer.status == 303 or (answer.status in (301, 302) and trip.method == "POST"):
                trip = trip._replace(method="HEAD" if trip.method == "HEAD" else "GET", body=None)
        raise PermanentError(
            ErrorCode.SOURCE_NOT_FOUND,
            f"{redact(url)}: more than {self._limits.redirects} redirects; the chain may be a loop",
        )

    def _send(self, target: Url, trip: _Trip) -> Answer:
        url = target._replace(auth=None, fragment=None).url
        try:
            carrier = urllib.request.Request(url)  # noqa: S310 - never opened: the cookie jar's idea of a request
            trip.jar.add_cookie_header(carrier)
        except ValueError as error:  # the standard library's parser is stricter here and there
            raise PermanentError(ErrorCode.BAD_MESSAGE, f"{redact(url)} is not a URL") from error
        sent = dict(trip.headers)
        if carrier.has_header("Cookie"):
            sent["Cookie"] = carrier.get_header("Cookie", "")
        self.budget.request()
        with ExitStack() as line, line_faults(url, self._watch, unanswered=_host_of(target)):
            wires: list[socket.socket] = []
            connection = self._connection(target, lambda made: wires.append(self._guarded(made, line)))
            line.callback(connection.close)
            connection.connect()
            connection.sock.settimeout(self._limits.read_timeout)
            connection.request(
                trip.method,
                target.request_uri,
                body=trip.body,
                headers=sent,
                preload_content=False,
                decode_content=False,
            )
            response = connection.getresponse()
            self._on_answer(_host_of(target), port_of(target))
            trip.jar.extract_cookies(response, carrier)  # type: ignore[arg-type] # only its headers are looked at
            secrets = {name: value for name, value in trip.headers.items() if name.lower() in _SECRETS}
            return Answer(line.pop_all(), response, url, self._watch, self.budget, wires[0], secrets)

    def _guarded(self, made: socket.socket, line: ExitStack) -> socket.socket:
        """Puts a connection under watch before TLS begins, which can be dragged out as well.

        TLS takes the socket over, so a second handle on the same connection is what can be shut down from elsewhere.
        """
        wire = line.enter_context(made.dup())
        line.enter_context(self._watch.guarding(wire))
        return wire

    def _connection(self, target: Url, made: Callable[[socket.socket], None]) -> HTTPConnection:
        host, port = _host_of(target), port_of(target)
        connection: _PlainConnection | _TlsConnection
        if target.scheme == "https":
            connection = _TlsConnection(host, port, ssl_context=self._tls, timeout=self._limits.connect_timeout)
        else:
            connection = _PlainConnection(host, port, timeout=self._limits.connect_timeout)

        def dial() -> socket.socket:
            connected = self._policy.connect(host, port, self._limits.connect_timeout, self._watch.check)
            try:
                made(connected)
            except BaseException:
                connected.close()
                raise
            return connected

        connection.dial = dial
        return connection


def _host_of(target: Url) -> str:
    return (target.host or "").strip("[]")


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _SECRETS}
