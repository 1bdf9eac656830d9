# SPDX-License-Identifier: Apache-2.0
"""An HTTP server on which things go wrong, each at an address of its own."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from worker.testing.served import Served

__all__ = ["METADATA", "BadServer"]

#: The address of the clouds' metadata services, which no source may have.
METADATA = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
#: What a source that only drips says that it has.
GIGABYTE = 10**9
#: Times a second that a drip falls.
_DRIPS = 4
_BROKEN_AFTER = 100_000

Route = Callable[[BaseHTTPRequestHandler], None]


class BadServer:
    """Serves files by their names, and misfortunes. A context manager.

    - `/status/N`: answers with the status N for ever; 429 and 503 ask for a second's wait.
    - `/drip/N`, whatever follows: declares a gigabyte and sends N bytes a second.
    - `/breaks`: every connection breaks off after the same 100 kB, and there are no ranges.
    - `/part`: a plain request has the first third as a 206, and so has any other.
    - `/loop`: redirects to itself. `/metadata`: redirects to the clouds' metadata address.
    - `/gzip-cut`: a compressed body that ends early, though the length is right. `/bomb`: one that swells 1000-fold.

    Args:
        bomb_bytes: What comes out of the bomb.
    """

    def __init__(self, *, bomb_bytes: int = 0) -> None:
        self._closing = threading.Event()
        some = bytes(3 * _BROKEN_AFTER)
        self._routes: dict[str, Route] = {
            "breaks": Served(some, etag="", ranges=False, breaks_after=_BROKEN_AFTER),
            "part": partial(_part, some),
            "loop": partial(_redirect, "/loop"),
            "metadata": partial(_redirect, METADATA),
            "gzip-cut": partial(_send, gzip.compress(some)[:200], kind="audio/mpeg", encoding="gzip"),
            "bomb": partial(_send, _swelling(bomb_bytes), kind="audio/mpeg", encoding="gzip"),
        }
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_GET(self) -> None:
                server._answer(self)

            do_HEAD = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self._server.server_port)

    def url(self, name: str) -> str:
        """Where a file or a misfortune is."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def serve(self, files: Mapping[str, tuple[bytes, str]]) -> None:
        """Adds files: bodies by name, with their types."""
        self._routes |= {name: partial(_send, body, kind=kind) for name, (body, kind) in files.items()}

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        kind, _, rest = handler.path.lstrip("/").partition("?")[0].partition("/")
        if kind == "status":
            wait = {"Retry-After": "1"} if rest in {"429", "503"} else {}
            _send(b"", handler, status=int(rest), **wait)
        elif kind == "drip":
            self._drip(handler, int(rest.partition("/")[0]))
        elif kind in self._routes:
            self._routes[kind](handler)
        else:
            handler.send_error(404)

    def _drip(self, handler: BaseHTTPRequestHandler, rate: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/mpeg")
        handler.send_header("Content-Length", str(GIGABYTE))
        handler.end_headers()
        handler.close_connection = True
        while not self._closing.wait(1 / _DRIPS):
            handler.wfile.write(bytes(rate // _DRIPS))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients break connections off, and are right to."""


def _send(
    body: bytes,
    handler: BaseHTTPRequestHandler,
    *,
    status: int = 200,
    kind: str = "",
    encoding: str = "",
    **headers: str,
) -> None:
    handler.send_response(status)
    all_headers = {"Content-Type": kind, "Content-Encoding": encoding, **headers, "Content-Length": str(len(body))}
    for name, value in all_headers.items():
        if value:
            handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def _redirect(where: str, handler: BaseHTTPRequestHandler) -> None:
    headers: dict[str, Any] = {"Location": where}
    _send(b"", handler, status=302, **headers)


def _part(whole: bytes, handler: BaseHTTPRequestHandler) -> None:
    third = len(whole) // 3
    _send(
        whole[:third],
        handler,
        status=206,
        kind="audio/mpeg",
        **{"Content-Range": f"bytes 0-{third - 1}/{len(whole)}"},
    )


def _swelling(size: int) -> bytes:
    """Zeros of any size as gzip: members of a megabyte behind one another."""
    return gzip.compress(bytes(1 << 20)) * (size >> 20)
