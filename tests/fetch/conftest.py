# SPDX-License-Identifier: Apache-2.0
"""A web server of this test's own, and what a fetch needs besides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sqscribe.errors import PermanentError
from stages.fetch import Fetcher, FetchLimits, FetchRequest
from stages.fetch.address import AddressPolicy
from stages.ports import Cancellation
from stages.values import Source
from worker.testing.scratch import BoundlessReserve

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


def no_s3() -> Any:
    raise AssertionError("S3 was asked")


class Case:
    """One fetch at a time, from the web server of the test."""

    def __init__(self, web: Web, reserve: BoundlessReserve, limits: FetchLimits, folder: Path) -> None:
        self.web = web
        self.held = reserve
        self.limits = limits
        self.folder = folder
        self.cancellation = Cancellation()
        self.answers: list[tuple[str, int]] = []

    def fetch(self, url: str, *, allow_private: bool = True, policy: AddressPolicy | None = None) -> Source:
        fetcher = Fetcher(
            self.limits,
            no_s3,
            allow_private=allow_private,
            policy=policy,
            on_answer=lambda host, port: self.answers.append((host, port)),
        )
        return fetcher.fetch(FetchRequest(url), self.folder, self.held, self.cancellation)

    def fails(self, url: str, kind: type[Exception] = PermanentError, **how: Any) -> Any:
        return getattr(self.failure(url, kind, **how), "code", None)

    def failure(self, url: str, kind: type[Exception] = PermanentError, **how: Any) -> Any:
        with pytest.raises(kind) as caught:
            self.fetch(url, **how)
        assert list(self.folder.iterdir()) == []
        return caught.value


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


@pytest.fixture
def reserve() -> BoundlessReserve:
    return BoundlessReserve()


@pytest.fixture
def limits() -> FetchLimits:
    return FetchLimits(max_bytes=2**20, connect_timeout=2, read_timeout=5, period=5, attempts=3, backoff=0.01)


@pytest.fixture
def case(web: Web, reserve: BoundlessReserve, limits: FetchLimits, tmp_path: Path) -> Case:
    return Case(web, reserve, limits, tmp_path)
