# SPDX-License-Identifier: Apache-2.0
"""An HTTP server of the bundled clips, and of a file that never comes."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from sqscribe.bundled import demo_clips

__all__ = ["MediaServer"]

#: Of this file only the headers come.
ENDLESS = "/endless.mp3"


class MediaServer:
    """Serves the clips at its root. To be closed.

    Args:
        address: That it listens on; empty: all of this machine's.
        listening: Whether it lets anybody through from the start; otherwise `listen` does.
    """

    def __init__(self, address: str = "127.0.0.1", *, listening: bool = True) -> None:
        self._closed = threading.Event()
        handler = partial(_Handler, self._closed, directory=str(demo_clips()[0].path.parent))
        self._server = ThreadingHTTPServer((address, 0), handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.server_bind()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        if listening:
            self.listen()

    def __enter__(self) -> Self:
        """Gives the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def url(self, name: str = "", host: str = "127.0.0.1") -> str:
        """Where a file is, or the root."""
        root = f"http://{host}:{self._server.server_port}"
        return f"{root}/{name}" if name else root

    @property
    def endless(self) -> str:
        """A source that sends its headers and then nothing, until the server is closed."""
        return self.url(ENDLESS.removeprefix("/"))

    def listen(self) -> None:
        """Lets callers through."""
        self._server.server_activate()
        self._thread.start()

    def close(self) -> None:
        """Ends it, with what it still sends."""
        self._closed.set()
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, closed: threading.Event, *args: object, directory: str) -> None:
        self._closed = closed
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Sends a clip, or the headers of the endless file."""
        if self.path != ENDLESS:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "audio/mpeg")
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self._closed.wait()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""
