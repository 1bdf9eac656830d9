# SPDX-License-Identifier: Apache-2.0
"""The process behind `worker.embedded.aws`: moto's SQS and S3 over HTTP. Imported by that process alone."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["main"]

#: Seconds after which a long poll looks again, for messages that time alone has made visible.
_LOOK_AGAIN_SECONDS = 0.2


class _Answer(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes


class OneAtATime:
    """A WSGI application that lets one request at a time into another one.

    moto answers in many threads but guards nothing: two receives at once may bring the same message, and two
    conditional writes may both succeed. A long poll waits out here, or nobody else would get in meanwhile.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._changed = threading.Condition()  # guards the application; told of every request but receives

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        body = _body(environ)
        if environ.get("HTTP_X_AMZ_TARGET", "").endswith(".ReceiveMessage"):
            answer = self._receive(environ, body)
        else:
            with self._changed:
                answer = self._ask(environ, body)
                self._changed.notify_all()
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _receive(self, environ: WSGIEnvironment, body: bytes) -> _Answer:
        request = json.loads(body)
        end = time.monotonic() + float(request.get("WaitTimeSeconds", 0))
        short = json.dumps(request | {"WaitTimeSeconds": 0}).encode()
        with self._changed:
            while True:
                answer = self._ask(environ, short)
                left = end - time.monotonic()
                if left <= 0 or not answer.status.startswith("200") or json.loads(answer.body).get("Messages"):
                    return answer
                self._changed.wait(min(left, _LOOK_AGAIN_SECONDS))

    def _ask(self, environ: WSGIEnvironment, body: bytes) -> _Answer:
        fresh = environ | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        chunks, status, headers = run_wsgi_app(self._app, fresh, buffered=True)
        return _Answer(status, list(headers), b"".join(chunks))


class QuietHandler(MotoRequestHandler):
    """Logs no requests."""

    def log(self, *_: Any) -> None:
        """Says nothing."""


def main() -> None:
    """Serves until standard input ends; prints the address as the first line."""
    parser = argparse.ArgumentParser(prog="python -m worker.embedded.aws")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    port = parser.parse_args().port
    logging.disable(logging.WARNING)
    app = OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=QuietHandler)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - the parent reads it
    server.serve_forever()


def _body(environ: WSGIEnvironment) -> bytes:
    """All of it, before the lock is taken: a slow sender must hold up nobody else."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        return bytes(stream.read())
    return bytes(stream.read(int(environ.get("CONTENT_LENGTH") or 0)))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # comes back when the parent has closed its end, or is gone
    os._exit(0)  # nothing is kept, and requests under way have nobody left to answer to


if __name__ == "__main__":
    main()
