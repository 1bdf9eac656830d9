# SPDX-License-Identifier: Apache-2.0
"""A file on a web server, and what can go wrong with it there."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

__all__ = ["Served"]


@dataclass
class Served:
    """Serves a file with ranges, as well as it is told to.

    Attributes:
        body: The file.
        etag: Its validator, in quotes as it is sent; empty: none.
        ranges: Whether ranges are served.
        breaks_after: Bytes after which each connection breaks off; 0: none does.
        rate: Bytes a second of each connection; 0: as fast as it can.
        most: Connections at a time; one more is answered with `full`.
        full: A status; 200 means the whole file.
        asked: The ranges that were asked for, in order.
    """

    body: bytes
    etag: str = '"v1"'
    ranges: bool = True
    breaks_after: int = 0
    rate: float = 0
    most: int = 100
    full: int = 503
    asked: list[str | None] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    most_at_once: int = 0
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)  # guards asked and _open

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        """Answers a request, and closes the connection."""
        with self._lock:
            self.asked.append(handler.headers.get("Range"))
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
            one_too_many = self._open > self.most
        try:
            self._answer(handler, one_too_many=one_too_many)
        finally:
            with self._lock:
                self._open -= 1
            handler.close_connection = True

    def _answer(self, handler: BaseHTTPRequestHandler, *, one_too_many: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        current = handler.headers.get("If-Range") in (None, self.etag)
        if one_too_many and self.full != 200:
            handler.send_response(self.full)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start, end = 0, len(self.body)
        if asked and self.ranges and current and not one_too_many:
            start, end = int(asked[1]), int(asked[2]) + 1 if asked[2] else end
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(self.body)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(end - start))
        handler.send_header("Content-Type", "audio/mpeg")
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.ranges:
            handler.send_header("Accept-Ranges", "bytes")
        handler.end_headers()
        self._send(handler, start, min(end, start + self.breaks_after) if self.breaks_after else end)

    def _send(self, handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
        step = 16_384 if self.rate else 1 << 20
        for place in range(start, end, step):
            piece = self.body[place : min(end, place + step)]
            handler.wfile.write(piece)
            if self.rate and self.closing.wait(len(piece) / self.rate):
                return
