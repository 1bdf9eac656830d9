# SPDX-License-Identifier: Apache-2.0
"""The process behind `FaultProxy`: an HTTP server that passes calls on, or makes them fail."""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import assert_never
from urllib.parse import urlsplit

from worker.testing.faults.access_log import AccessLog
from worker.testing.faults.call_fault import CallFault, Dice, Kind
from worker.testing.faults.calls import Call, read_call
from worker.testing.faults.gateway import EmulatorAnswer, Gateway

__all__ = ["main"]

#: Seconds that the emulator may take; it is on this machine.
_UPSTREAM_SECONDS = 60.0
#: Headers that say how a message travels on one connection, not what it says.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: closing sends RST


class ProxyServer(ThreadingHTTPServer):
    """The server, on a socket that listens already.

    Args:
        listening: The socket.
        upstream: Address of the emulator.
        log: Where calls are written down.
        dice: Decide which calls go wrong.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, upstream: str, log: AccessLog, dice: Dice) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.dice = dice
        self.gateway = Gateway(self._ask, log)
        self._upstream = urlsplit(upstream).netloc
        self._requests = threading.local()

    def handle_error(self, request: object, client_address: object) -> None:
        """Keeps quiet about callers that were killed in the middle of a call."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def remember(self, handler: _Handler) -> None:
        """Keeps the request that this thread works on, for `_ask`."""
        self._requests.handler = handler

    def _ask(self, _call: Call, body: bytes) -> EmulatorAnswer:
        handler: _Handler = self._requests.handler
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection = HTTPConnection(self._upstream, timeout=_UPSTREAM_SECONDS)
        try:
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            return EmulatorAnswer(answer.status, tuple(answer.getheaders()), answer.read())
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    """One connection of a caller."""

    protocol_version = "HTTP/1.1"
    server: ProxyServer

    def log_message(self, *_: object) -> None:
        """Prints nothing: calls are in the access log."""

    def handle_any(self) -> None:
        """Answers a request, or makes it fail."""
        began = time.time()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError("the caller was killed in the middle of its request")
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = read_call(self.command, self.path, headers, body)
        fault = self.server.dice.draw(call)
        self.server.remember(self)
        gateway = self.server.gateway
        if fault is None or fault.after or fault.kind in (Kind.STALL, Kind.TRUNCATED):
            if fault and fault.kind is Kind.STALL:
                threading.Event().wait(fault.seconds)
            answer = gateway.take(call, began, fault)
            if fault is None or fault.kind is Kind.STALL:
                self._answer(answer)
            elif fault.kind is Kind.TRUNCATED:
                self._break_off(answer, fault.share)
            else:
                self._fail(call, fault)
        else:
            gateway.turn_away(call, began, fault)
            self._fail(call, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server's names

    def _answer(self, answer: EmulatorAnswer, share: float = 1.0) -> None:
        # The answer to HEAD tells the length of a body that does not come.
        told = {name.lower(): value for name, value in answer.headers}.get("content-length")
        length = told if self.command == "HEAD" and told else str(len(answer.body))
        self.send_response(answer.status)
        for name, value in answer.headers:
            if name.lower() not in _HOP_BY_HOP | {"date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(answer.body[: int(len(answer.body) * share)])
        self.wfile.flush()

    def _break_off(self, answer: EmulatorAnswer, share: float) -> None:
        self._answer(answer, share if answer.ok else 1.0)
        self.close_connection = True

    def _fail(self, call: Call, fault: CallFault) -> None:
        match fault.kind:
            case Kind.RESET:
                self._reset()
            case Kind.TIMEOUT:
                # Until the caller has had enough: then its end can be read.
                select.select([self.connection], [], [], fault.seconds)
                self.close_connection = True
            case Kind.ERROR_500:
                self._refuse(call, HTTPStatus.INTERNAL_SERVER_ERROR, "InternalFailure", "InternalError")
            case Kind.ERROR_503:
                self._refuse(call, HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", "SlowDown")
            case Kind.STALL | Kind.TRUNCATED:
                raise RuntimeError("a call that is answered late or in part does not fail")
            case _:
                assert_never(fault.kind)

    def _refuse(self, call: Call, status: HTTPStatus, sqs_code: str, s3_code: str) -> None:
        if call.sqs:
            kind = "application/x-amz-json-1.0"
            body = json.dumps({"__type": f"com.amazonaws.sqs#{sqs_code}", "message": "a fault of the proxy's"}).encode()
        else:
            kind = "application/xml"
            body = f"<Error><Code>{s3_code}</Code><Message>a fault of the proxy's</Message></Error>".encode()
        self._answer(EmulatorAnswer(status, (("Content-Type", kind),), b"" if self.command == "HEAD" else body))

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Were it not closed already, the server would shut it down in good order first.
        self.connection.close()
        raise ConnectionResetError("a fault of the proxy's")


def main() -> None:
    """Serves until standard input ends; a command is a line of JSON there, which an empty line answers."""
    parser = argparse.ArgumentParser(prog="python -m worker.testing.faults.server")
    parser.add_argument("--socket", type=int, required=True, help="number of a socket that listens")
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--truncated", type=float, required=True)
    parser.add_argument("--stall", type=float, required=True, help="longest, in seconds")
    parser.add_argument("--timeout", type=float, required=True, help="in seconds")
    options = parser.parse_args()
    dice = Dice(
        options.seed,
        rate=options.rate,
        truncated=options.truncated,
        stall_seconds=options.stall,
        timeout_seconds=options.timeout,
    )
    threading.Thread(target=_obey_parent, args=(dice,), name="parent-watch", daemon=True).start()
    with AccessLog(options.log) as log:
        listening = socket.socket(fileno=options.socket)
        ProxyServer(listening, options.upstream, log, dice).serve_forever()


def _obey_parent(dice: Dice) -> None:
    for line in sys.stdin:  # comes to its end when the parent has closed its end, or is gone
        command = json.loads(line)
        facts = command["fault"]
        dice.force(command["operation"], CallFault(**{**facts, "kind": Kind(facts["kind"])}) if facts else None)
        print(flush=True)  # noqa: T201 - the parent waits for it
    os._exit(0)  # every line of the log is in its file


if __name__ == "__main__":
    main()
