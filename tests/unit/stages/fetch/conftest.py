# SPDX-License-Identifier: Apache-2.0
"""A web server of this test's own, and what a fetch needs besides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stages.fetch import FetchLimits
from stages.ports import Cancellation

Route = Callable[[BaseHTTPRequestHandler], None]


class Web:
    """Routes by path; anything else is a 404."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.seen: list[BaseHTTPRequestHandler] = []
        self.closing = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5

            def do_GET(self) -> None:
                web.seen.append(self)
                route = web.routes.get(self.path.partition("?")[0])
                if route is None:
                    self.send_error(404)
                else:
                    route(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Clients break connections off on purpose here."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(
        self, path: str, body: bytes, kind: str = "application/octet-stream", status: int = 200, **headers: str
    ) -> str:
        """Serves `body` whole; returns its URL."""

        def route(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Type", kind)
            handler.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(body)

        self.routes[path] = route
        return self.url + path

    def redirect(self, path: str, location: str) -> str:
        return self.serve(path, b"", status=302, Location=location)


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield web
    web.closing.set()
    web.server.shutdown()
    web.server.server_close()
    thread.join()


@dataclass
class Reserve:
    """Grants all and remembers it."""

    totals: list[int] = field(default_factory=list)

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        cancellation.check()
        self.totals.append(total)


@pytest.fixture
def reserve() -> Reserve:
    return Reserve()


@pytest.fixture
def limits() -> FetchLimits:
    return FetchLimits(max_bytes=2**20, connect_timeout=2, read_timeout=5, period=5, attempts=3, backoff=0.01)
