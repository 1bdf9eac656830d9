# SPDX-License-Identifier: Apache-2.0
"""A proxy before an emulator of SQS and S3 that refuses what a test tells it to, in the words of the services."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from worker.testing.faults.calls import Call, read_call
from worker.testing.queue_calls import message_bytes

__all__ = ["Refused", "RefusingProxy", "over_size"]

#: Longer than any long poll.
UPSTREAM_SECONDS = 60.0
#: Answers never pass these on: they are about the one connection that an answer came by.
_OF_THE_CONNECTION = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})


@dataclass(frozen=True, slots=True)
class Refused:
    """What a call is answered with.

    Attributes:
        status: Of HTTP.
        code: The service's own.
        sentence: The service's own.
        cut: None: this is the whole answer. Otherwise the right one breaks off at this place of the object.
    """

    status: int = 400
    code: str = ""
    sentence: str = ""
    cut: int | None = None


class RefusingProxy:
    """Passes calls on but for those that a rule refuses. A context manager.

    Args:
        upstream: The emulator's address.
        rule: Gives what a call is refused with, or None. May be replaced at any time.
    """

    def __init__(self, upstream: str, rule: Callable[[Call], Refused | None] = lambda _call: None) -> None:
        self.rule = rule
        methods = {f"do_{name}": _Handler.answer for name in ("GET", "HEAD", "PUT", "POST", "DELETE")}
        facts = {"proxy": self, "upstream": urlsplit(upstream).netloc}
        handler: Any = type("Handler", (_Handler,), {**methods, **facts})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        """Starts it."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"


def over_size(call: Call, limit: int) -> Refused | None:
    """What SQS says to a message that is larger than its queue allows; moto does not count attributes."""
    if call.operation != "SendMessage":
        return None
    size = message_bytes(call.parameters["MessageBody"], call.parameters.get("MessageAttributes") or {})
    sentence = f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
    return Refused(400, "InvalidParameterValue", sentence) if size > limit else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients and rules break connections off on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: RefusingProxy
    upstream: str

    def answer(self) -> None:
        """Answers one call."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = read_call(self.command, self.path, headers, body)
        refused = self.proxy.rule(call)
        if refused is not None and refused.cut is None:
            self._refuse(call, refused)
        else:
            self._pass_on(body, None if refused is None else refused.cut)

    def _refuse(self, call: Call, refused: Refused) -> None:
        if call.sqs:
            kind, name = "application/x-amz-json-1.0", f"com.amazonaws.sqs#{refused.code}"
            body = json.dumps({"__type": name, "message": refused.sentence}).encode()
        else:
            kind = "application/xml"
            body = f"<Error><Code>{refused.code}</Code><Message>{refused.sentence}</Message></Error>".encode()
        self.send_response(refused.status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _pass_on(self, body: bytes, cut: int | None) -> None:
        upstream = http.client.HTTPConnection(self.upstream, timeout=UPSTREAM_SECONDS)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if cut is not None:
            first = re.match(r"bytes (\d+)-", answer.getheader("Content-Range") or "")
            self.wfile.write(content[: max(0, cut - int(first[1] if first else 0))])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
