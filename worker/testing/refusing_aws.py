# SPDX-License-Identifier: Apache-2.0
"""An SQS and an S3 that refuse calls as AWS does for want of a permission or a key: emulators permit everything."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from worker.testing.faults.calls import Call, read_call

__all__ = ["RefusingAws"]

#: Bytes of a slow answer that come at once.
_PIECE = 16 * 1024
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})


@dataclass(frozen=True, slots=True)
class _Refusal:
    operation: str
    within: str
    code: str
    status: int
    message: str
    conditional: bool

    def meets(self, call: Call) -> bool:
        """Whether it is the call's."""
        named = self.operation == call.operation and self.within in call.resource
        return named and (call.condition is not None or not self.conditional)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Keeps quiet about callers that hang up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class RefusingAws:
    """Passes calls on to an emulator, but for those that it was told to refuse. A context manager.

    Args:
        upstream: The emulator's address.

    Attributes:
        calls: Operations and resources in the order in which they came.
    """

    def __init__(self, upstream: str) -> None:
        self.calls: list[tuple[str, str]] = []
        self._refusals: list[_Refusal] = []
        self._slow = (sys.maxsize, 0.0)
        self._stopped = threading.Event()
        self._upstream = urlsplit(upstream).netloc
        refusing = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, answered, answer = refusing._answer(self, read_call(self.command, self.path, headers, body))
                self.send_response_only(status)
                for name, value in ({"content-length": str(len(answer))} | answered).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    refusing._send(self, answer)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                """Prints nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The endpoint of both services."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def refuse(
        self,
        operation: str,
        code: str,
        *,
        status: int = 403,
        within: str = "",
        message: str = "",
        conditional: bool = False,
    ) -> None:
        """Refuses every call of an operation from now on.

        Args:
            operation: AWS's name for it.
            code: The error's.
            status: Of the HTTP answer.
            within: Part of the queue's name, or of `bucket/key`; by default every one is meant.
            message: The sentence beside the code.
            conditional: Whether only writes on condition are meant.
        """
        self._refusals.append(_Refusal(operation, within, code, status, message, conditional))

    def mend(self) -> None:
        """Refuses nothing any more."""
        self._refusals = []

    def slow_down(self, larger_than: int, seconds: float) -> None:
        """Sends every larger answer in small pieces from now on.

        Args:
            larger_than: Bytes.
            seconds: Between two pieces.
        """
        self._slow = (larger_than, seconds)

    def _send(self, request: BaseHTTPRequestHandler, answer: bytes) -> None:
        larger_than, seconds = self._slow
        if len(answer) <= larger_than:
            request.wfile.write(answer)
            return
        with suppress(OSError):  # its client has gone
            for first in range(0, len(answer), _PIECE):
                request.wfile.write(answer[first : first + _PIECE])
                self._stopped.wait(seconds)

    def _answer(self, request: BaseHTTPRequestHandler, call: Call) -> tuple[int, dict[str, str], bytes]:
        self.calls.append((call.operation, call.resource))
        for each in list(self._refusals):
            if each.meets(call):
                return each.status, {"Content-Type": "application/xml"}, _body(call, each)
        connection = HTTPConnection(self._upstream, timeout=60)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(request.command, request.path, call.body, headers)
            answer = connection.getresponse()
            kept = {name.lower(): value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
            if request.command == "HEAD" and (length := answer.getheader("Content-Length")):
                kept["content-length"] = length
            return answer.status, kept, answer.read()
        finally:
            connection.close()


def _body(call: Call, refusal: _Refusal) -> bytes:
    if call.sqs:
        return json.dumps({"__type": f"com.amazonaws.sqs#{refusal.code}", "message": refusal.message}).encode()
    return f"<Error><Code>{escape(refusal.code)}</Code><Message>{escape(refusal.message)}</Message></Error>".encode()
