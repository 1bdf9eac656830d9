# SPDX-License-Identifier: Apache-2.0
"""The probes, the status and the metrics over HTTP; read-only, and nothing in them is secret."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from sqscribe.errors import SettingsError
from worker.telemetry.health import ProbeAnswer

__all__ = ["Pages", "StatusServer"]

log = structlog.get_logger()

_NAME = "status-server"

#: Seconds that a client may take over its request line, its headers, and over reading the answer.
_REQUEST_TIMEOUT = 10.0

#: Seconds between two looks at the wish to stop.
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Pages:
    """The functions that answer requests. Each is called on the request's own thread and must return at once.

    Attributes:
        startup: `/startup`: 200 once the start-up is over.
        live: `/live`: 503 when the process should be replaced.
        ready: `/ready`: 503 while jobs are not taken.
        status: `/status`: what the worker does now, as types that JSON has.
        metrics: `/metrics`: content type and body.
    """

    startup: Callable[[], ProbeAnswer]
    live: Callable[[], ProbeAnswer]
    ready: Callable[[], ProbeAnswer]
    status: Callable[[], Mapping[str, Any]]
    metrics: Callable[[], tuple[str, bytes]]


class StatusServer:
    """Serves `Pages` from a thread of its own.

    Bound to `::`, which takes IPv4 as well (SaladCloud's gateway speaks only IPv6), or to `0.0.0.0` on a host
    without IPv6.

    Args:
        pages: Answer the requests.
        port: To listen on; 0 lets the system choose, and the property of that name tells which.
        request_timeout: Seconds after which a silent client is hung up on.
    """

    def __init__(self, pages: Pages, port: int, *, request_timeout: float = _REQUEST_TIMEOUT) -> None:
        self._pages = pages
        self._port = port
        self._request_timeout = request_timeout
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self._server is not None

    def show(self, pages: Pages) -> None:
        """Answers with other pages from now on: the worker knows more of itself than its start-up did."""
        self._pages = pages
        if self._server is not None:
            self._server.routes = _routes(pages)

    @property
    def port(self) -> int:
        """The port that is listened on; only while it runs."""
        if self._server is None:
            raise RuntimeError("the status server is not running")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Binds the port and begins to answer.

        Raises:
            RuntimeError: It runs already.
            SettingsError: The port cannot be listened on.
        """
        if self._server is not None:
            raise RuntimeError("the status server is running already")
        self._server = _bind(self._port, self._pages, self._request_timeout)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL,), name=_NAME, daemon=True)
        self._thread.start()
        log.debug("status_server_started", port=self.port)

    def stop(self) -> None:
        """Stops answering and gives the port back; harmless when it does not run."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None and thread is not None:
            server.shutdown()
            thread.join()
            server.server_close()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    content_type: str
    body: bytes


def _json(status: HTTPStatus, body: Mapping[str, Any]) -> _Answer:
    return _Answer(status, "application/json", json.dumps(body, default=str).encode() + b"\n")


def _refusal(status: HTTPStatus, reason: str) -> _Answer:
    return _json(status, {"ok": False, "reasons": [reason]})


def _probe(ask: Callable[[], ProbeAnswer]) -> Callable[[], _Answer]:
    def answer() -> _Answer:
        answer = ask()
        status = HTTPStatus.OK if answer.ok else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(status, {"ok": answer.ok, "reasons": list(answer.reasons)})

    return answer


def _routes(pages: Pages) -> Mapping[str, Callable[[], _Answer]]:
    return {
        "/startup": _probe(pages.startup),
        "/live": _probe(pages.live),
        "/ready": _probe(pages.ready),
        "/status": lambda: _json(HTTPStatus.OK, pages.status()),
        "/metrics": lambda: _Answer(HTTPStatus.OK, *pages.metrics()),
    }


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    protocol_version = "HTTP/1.0"  # one request a connection: none stays open and holds a thread
    error_content_type = "application/json"
    error_message_format = '{"ok": false, "reasons": ["HTTP status %(code)d"]}'

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.request_timeout)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        route = self.server.routes.get(path)
        if route is None:
            self._send(_refusal(HTTPStatus.NOT_FOUND, "no such page; there are " + ", ".join(self.server.routes)))
            return
        try:
            answer = route()
        except Exception:
            # The probe gets an answer that says so rather than none.
            log.exception("status_page_failed", page=path)
            answer = _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"{path} failed; the log says why")
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _refuse(self) -> None:
        self._send(_refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 - http.server's names

    def _send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        return "sqscribe"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Logs nothing: probes come every few seconds."""


class _Server(ThreadingHTTPServer):
    """The listening socket and what its handlers need."""

    daemon_threads = True  # a client that reads slowly does not hold up the end of the process
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], pages: Pages, request_timeout: float) -> None:
        self.request_timeout = request_timeout
        self.routes = _routes(pages)  # replaced as a whole, so that no lock is needed
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Not the parent's: it asks the DNS for this host's name, which can take half a minute.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - socketserver's form
        """Logs it at the lowest level only: clients hang up all the time."""
        log.debug("status_request_failed", client=str(client_address), why=repr(sys.exception()))


class _ServerV6(_Server):
    address_family = socket.AF_INET6


def _bind(port: int, pages: Pages, request_timeout: float) -> _Server:
    if socket.has_ipv6:
        try:
            return _ServerV6(("::", port), pages, request_timeout)
        except OSError as error:
            log.debug("ipv6_refused", why=str(error))
    try:
        return _Server(("0.0.0.0", port), pages, request_timeout)  # noqa: S104 - probes come from outside
    except OSError as error:
        raise SettingsError(
            f"SQSCRIBE_HTTP_PORT: cannot listen on port {port} for health and metrics: {error.strerror or error}; "
            "choose another port, or 0 to do without",
        ) from error
