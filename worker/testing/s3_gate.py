# SPDX-License-Identifier: Apache-2.0
"""A gate between a client of S3 and the store, which does to answers what networks and stores do."""

from __future__ import annotations

import http.client
import re
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import TYPE_CHECKING, Self

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Gate", "plain_client"]

#: Bytes that a slow connection sends at a time.
_SIP = 16 * 1024


class S3Gate(socketserver.ThreadingTCPServer):
    """Passes GET on to a store, and takes PUT for done. A context manager.

    Attributes:
        breaks: So many of the first bodies break off in the middle.
        wall: No body brings a byte of the object beyond this one.
        hold: Every body stops in the middle, and its connection stays open.
        rate: Bytes a second of one connection.
        refused: So many requests for ranges are answered with 503, the first ones.
        whole: Whether ranges are not known here: the answer is the whole object.
        part: Bytes that a GET without a range is answered with, though it asked for all.
        on_range: Called before a range is asked for.
        on_break: Called when a body has broken off or stopped.
        ranges: The `Range` of each GET.
        headers: The headers of each request.
        most: Most bodies that were under way at once.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, store: str) -> None:
        self.store = store.removeprefix("http://")
        self.breaks = 0
        self.wall: int | None = None
        self.hold = False
        self.rate: float | None = None
        self.refused = 0
        self.whole = False
        self.part: int | None = None
        self.on_range: Callable[[], object] = lambda: None
        self.on_break: Callable[[], object] = lambda: None
        self.closing = threading.Event()
        self.ranges: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        self.most = 0
        self._lock = threading.Lock()  # guards the three above and the two below
        self._now = 0
        self._left = 0
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients break connections off on purpose here."""

    @property
    def url(self) -> str:
        """The endpoint for the client."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def noted(self, headers: dict[str, str], asked: str | None) -> tuple[bool, bool]:
        """Notes a GET; gives whether it is refused, and whether its body breaks off."""
        with self._lock:
            self.ranges.append(asked)
            self.headers.append(headers)
            refused = asked is not None and self._left < self.refused
            self._left += refused
            self.most = max(self.most, self._now + 1)
            self._now += 1
            return refused, len(self.ranges) <= self.breaks or self.hold

    def passed(self) -> None:
        """Notes that an answer has ended."""
        with self._lock:
            self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Gate

    def do_GET(self) -> None:
        gate, asked = self.server, self.headers.get("Range")
        refused, breaks = gate.noted(dict(self.headers), asked)
        try:
            if refused:
                body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
                self._answer(503, [("Content-Length", str(len(body)))], body)
            else:
                self._pass_on(asked, breaks=breaks)
        finally:
            gate.passed()

    def do_PUT(self) -> None:
        self.server.noted(dict(self.headers), None)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(200, [("ETag", '"x"'), ("Content-Length", "0")], b"")
        self.server.passed()

    def _pass_on(self, asked: str | None, *, breaks: bool) -> None:
        gate = self.server
        if asked:
            gate.on_range()
        kept = {name: value for name, value in self.headers.items() if name != "Range" or not gate.whole}
        if gate.part and not asked:
            kept["Range"] = f"bytes=0-{gate.part - 1}"
        status, headers, body = self._ask(kept)
        found = re.match(r"bytes=(\d+)", asked or "")
        first = int(found[1]) if found and not gate.whole else 0
        if gate.wall is not None and first + len(body) > gate.wall:
            body, breaks = body[: max(0, gate.wall - first)], True
        elif breaks:
            body = body[: len(body) // 2]
        self.close_connection = breaks
        self._answer(status, headers, body)
        if breaks:
            gate.on_break()
        if gate.hold:
            gate.closing.wait(30)

    def _ask(self, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.server.store)
        upstream.request("GET", self.path, headers=headers)
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        return answer.status, answer.getheaders(), body

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        rate = self.server.rate
        if rate is None:
            self.wfile.write(body)
            return
        for at in range(0, len(body), _SIP):
            self.wfile.write(body[at : at + _SIP])
            self.server.closing.wait(_SIP / rate)

    def log_message(self, *args: object) -> None:
        pass


def plain_client(url: str) -> S3Client:
    """A client of a store or a gate that repeats nothing."""
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the embedded store takes any
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
    )
    return client
