# SPDX-License-Identifier: Apache-2.0
"""Fetches hostile URLs where all that they lead to is this machine, and tells who was spoken to.

Run as root of a network namespace of its own. Its loopback interface has a public address, on which a site stands that
redirects and embeds, and internal ones, on which somebody listens. Reads URLs as a JSON list from its standard input;
writes `{"ended": {case: error code or class}, "heard": [...], "control": [...]}`.
"""

from __future__ import annotations

import ipaddress
import json
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqscribe.errors import SqscribeError
from stages.fetch import Fetcher, FetchLimits, FetchRequest, PageRules
from stages.fetch.address import AddressPolicy
from stages.ports import Cancellation
from worker.testing.scratch import BoundlessReserve

SITE = "93.184.216.34"
INTERNAL = ("169.254.169.254", "10.0.0.1", "127.0.0.1", "fd00:ec2::254", "::1")
#: A packet to it says that all that was heard before was heard of the fetches.
MARK = "93.184.216.99"
TARGETS = ("http://169.254.169.254/", "http://10.0.0.1/", "http://127.0.0.1/", "http://[fd00:ec2::254]/",
           "http://[::ffff:10.0.0.1]/", "http://rebind.test/", "http://mixed.test/", "http://metadata.test/",
           "http://0x7f.1/", "http://10.0.0.1./", "http://localhost./")  # fmt: skip
#: In turns: the first answer of `rebind.test` is checked and used; a second lookup would be led inside.
ANSWERS = {
    "good.test": [[SITE]],
    "mixed.test": [[SITE, "10.0.0.1"]],
    "mixed6.test": [["2606:4700::1111", "::1"]],
    "metadata.test": [["169.254.169.254"]],
    "translated.test": [["64:ff9b::a00:1"]],
    "rebind.test": [["10.0.0.1"]],
    "rebinding.test": [[SITE], ["10.0.0.1"]],
    "turning.test": [[SITE], ["10.0.0.1"]],
}


class Site(BaseHTTPRequestHandler):
    """`/redirect/URL` leads there; `/page/URL` embeds it; `/list/URL` is a playlist that names it."""

    def do_GET(self) -> None:
        kind, _, target = self.path[1:].partition("/")
        target = unquote(target)
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        types = {"page": "text/html", "list": "application/vnd.apple.mpegurl"}
        lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:4", "#EXTINF:4,", target, "#EXT-X-ENDLIST", "")
        body = "\n".join(lines) if kind == "list" else f'<html><audio src="{target}"></audio></html>'
        self.send_response(200)
        self.send_header("Content-Type", types.get(kind, "audio/wav"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Says nothing."""


class Listeners:
    """Hear every packet to an internal address, and every connection to its web port; note whose it is."""

    def __init__(self, stack: ExitStack) -> None:
        self.heard: list[str] = []
        self.marked = threading.Event()
        self._servers = [stack.enter_context(self._server(address)) for address in INTERNAL]
        every_protocol = socket.htons(3)
        self._wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, every_protocol))

    @staticmethod
    def _server(address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, 80), family=family)

    def listen(self, over: threading.Event) -> None:
        """Until the event is set and all has been noted."""
        while (ready := select.select([*self._servers, self._wire], [], [], 0.05)[0]) or not over.is_set():
            for heard in ready:
                if heard is self._wire:
                    self._note(heard.recv(64))
                    continue
                connection, _ = heard.accept()
                self.heard.append(heard.getsockname()[0])
                connection.close()

    def _note(self, packet: bytes) -> None:
        """Notes where an IP packet goes to, if that is inside."""
        raw = packet[24:40] if packet[0] >> 4 == 6 else packet[16:20]
        target = str(ipaddress.ip_address(raw))
        if target == MARK:
            self.marked.set()
        if target in INTERNAL:
            self.heard.append(f"a packet to {target}")


def resolve(host: str, port: int, type: int) -> list[Any]:  # noqa: A002 - getaddrinfo's own name
    """As `getaddrinfo`, with our answers for our names."""
    if host not in ANSWERS:
        return socket.getaddrinfo(host, port, type=type)
    turns = ANSWERS[host]
    answers = turns.pop(0) if len(turns) > 1 else turns[0]
    return [(socket.AF_INET6 if ":" in text else socket.AF_INET, type, 6, "", (text, port)) for text in answers]


@contextmanager
def running(site: ThreadingHTTPServer, listeners: Listeners) -> Iterator[None]:
    """Site and listeners, each in a thread."""
    over = threading.Event()
    threads = [threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02}),
               threading.Thread(target=listeners.listen, args=(over,))]  # fmt: skip
    for thread in threads:
        thread.start()
    yield
    over.set()
    site.shutdown()
    for thread in threads:
        thread.join()


def ended(url: str, fetcher: Fetcher) -> str:
    """The error code that a fetch ends with."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            fetcher.fetch(FetchRequest(url), Path(folder), BoundlessReserve(), Cancellation())
        except SqscribeError as error:
            return str(getattr(error, "code", type(error).__name__))
    return "fetched"


def main() -> None:
    """Fetches all, then speaks to each listener itself: they do hear."""
    for address in (SITE, MARK, *INTERNAL):
        subprocess.run(["ip", "address", "replace", address, "dev", "lo"], check=True)  # noqa: S607 - as the test found it
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607
    urls = json.load(sys.stdin)
    urls += [f"http://good.test/{kind}/{target}" for kind in ("redirect", "page", "list") for target in TARGETS]
    urls += [f"http://{host}/" for host in ANSWERS if host not in ("good.test", "turning.test")]
    urls.append("http://turning.test/page/http://good.test/clip.wav")  # yt-dlp's own request is led inside
    limits = FetchLimits(max_bytes=2**20, connect_timeout=20, read_timeout=20, attempts=2, backoff=0.01)
    policy = AddressPolicy(allow_private=False, resolve=resolve)
    fetcher = Fetcher(limits, lambda: None, policy=policy, pages=PageRules(generic=True))  # type: ignore[arg-type,return-value]
    with ExitStack() as stack:
        listeners = Listeners(stack)
        site = stack.enter_context(ThreadingHTTPServer((SITE, 80), Site))
        with running(site, listeners):
            report: dict[str, Any] = {"ended": {url: ended(url, fetcher) for url in urls}}
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as marker:
                marker.bind((SITE, 0))  # what is answered goes there
                marker.sendto(b"", (MARK, 9))
            if not listeners.marked.wait(60):
                raise TimeoutError("the mark was not heard")
            report["heard"] = list(listeners.heard)
            for address in INTERNAL:
                socket.create_connection((address, 80), timeout=30).recv(1)
    report["control"] = sorted(set(listeners.heard))
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
