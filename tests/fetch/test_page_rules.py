# SPDX-License-Identifier: Apache-2.0
"""Which pages are read, with whose cookies, and by which way."""

from __future__ import annotations

import base64
import gc
import io
import socket
import threading
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.extractor import gen_extractor_classes

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, SettingsError, TransientError
from stages.fetch import Fetcher, FetchLimits, FetchRequest, PageRules
from stages.fetch.address import AddressPolicy
from stages.fetch.http import PageFoundError
from stages.fetch.page import PageDownload
from stages.fetch.page_sites import SITES
from stages.ports import Cancellation

# yt-dlp leaves files open where it fails, and the garbage collector closes them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

KNOWN = "https://www.youtube.com/watch?v=BaW_jenozKc"
LEFT_OUT = "https://www.imdb.com/video/imdb/vi2524815897"


def rules(**settings: Any) -> PageRules:
    return PageRules.read(**({"extractors": None, "generic": False, "cookies": None, "proxy": None} | settings))


def test_every_site_of_the_list_is_one_that_yt_dlp_knows() -> None:
    names = {kind.IE_NAME.lower() for kind in gen_extractor_classes()}
    assert [name for name in SITES if name.lower() not in names] == []
    assert len(set(SITES)) == len(SITES) > 100


@pytest.mark.parametrize(
    ("settings", "let_in", "kept_out"),
    [
        ({}, "youtube", "imdb"),
        ({}, "TedTalk", "generic"),
        ({"extractors": ["Vimeo"]}, "vimeo", "youtube"),
        ({"extractors": ["all"]}, "imdb", "generic"),
        ({"extractors": ["vimeo"], "generic": True}, "generic", "youtube"),
    ],
)
def test_what_the_settings_let_in(settings: dict[str, Any], let_in: str, kept_out: str) -> None:
    names = {kind.IE_NAME for kind in rules(**settings).chosen(gen_extractor_classes())}
    assert let_in in names
    assert kept_out not in names


@pytest.mark.parametrize("name", ["yuotube", "generic", "html5", ".*", ""])
def test_a_site_that_there_is_not_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(SettingsError, match="SQSCRIBE_YTDLP_EXTRACTORS"):
        rules(extractors=["vimeo", name])


def way(url: str, led_to: str, **settings: Any) -> str:
    """The address that yt-dlp gets."""
    page = PageFoundError(None, led_to, "text/html")
    nothing: Any = None
    download = PageDownload(url, page, nothing, nothing, nothing, nothing, rules(**settings))
    return download._way()[0]


def test_a_short_link_is_known_by_where_it_leads() -> None:
    assert way("https://short.test/a", KNOWN) == KNOWN
    assert way(KNOWN, "https://consent.test/") == KNOWN


def test_a_site_that_is_left_out_is_named() -> None:
    with pytest.raises(PermanentError, match=r"does not read \(imdb\); SQSCRIBE_YTDLP_EXTRACTORS") as caught:
        way(LEFT_OUT, LEFT_OUT)
    assert caught.value.code is ErrorCode.MEDIA_UNREADABLE
    assert way(LEFT_OUT, LEFT_OUT, extractors=["all"]) == LEFT_OUT


COOKIES = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4000000000\tsession\topen-sesame\n"


@pytest.mark.parametrize(
    "text", [None, "", "# only a comment\n", '[{"name": "session"}]', "a=b; c=d", "x\ty\n", "\0" * 2**21]
)
def test_a_file_of_cookies_that_is_none_is_a_wrong_setting(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match="SQSCRIBE_YTDLP_COOKIES"):
        rules(cookies=path)


@pytest.mark.parametrize(
    "proxy",
    ["socks5://u:hunter2@host:1080", "host:8080", "http://", "http://u:hunter2@host:port", "http://host/path", "x"],
)
def test_a_proxy_that_is_none_is_a_wrong_setting_and_its_password_is_not_told(proxy: str) -> None:
    with pytest.raises(SettingsError, match="SQSCRIBE_YTDLP_PROXY") as caught:
        rules(proxy=proxy)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(COOKIES)
    shown = repr(rules(cookies=path, proxy="http://u:hunter2@host:8080"))
    assert "sesame" not in shown
    assert "hunter2" not in shown


def clip() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(1000))
    return buffer.getvalue()


Fetch = Callable[..., bytes]


@pytest.fixture
def fetch(web: Any, reserve: Any, limits: FetchLimits, tmp_path: Path) -> Iterator[Fetch]:
    """Fetches a page of the test's server that embeds a clip of the same server under the name `media.test`."""

    def resolve(host: str, port: int, type: int) -> Any:  # noqa: A002 - getaddrinfo's own name
        return socket.getaddrinfo("127.0.0.1" if host.endswith(".test") else host, port, type=type)

    def run(page_rules: PageRules, host: str = "127.0.0.1") -> bytes:
        web.serve("/clip.wav", clip(), "audio/wav")
        body = f'<html><audio src="http://media.test:{web.port}/clip.wav"></audio></html>'
        web.serve("/talk", body.encode(), "text/html")
        policy = AddressPolicy(allow_private=True, resolve=resolve)
        fetcher = Fetcher(
            limits, lambda: pytest.fail("S3 was asked"), policy=policy, pages=replace(page_rules, generic=True)
        )
        source = fetcher.fetch(FetchRequest(f"http://{host}:{web.port}/talk"), tmp_path, reserve, Cancellation())
        return source.path.read_bytes()

    yield run
    gc.collect()  # here, where the warning is let pass


def test_cookies_go_to_their_own_site_alone(fetch: Fetch, web: Any, tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(COOKIES)
    path.chmod(0o400)
    assert fetch(rules(cookies=path)) == clip()
    sent = {(handler.path, handler.headers.get("Cookie")) for handler in web.seen}
    assert ("/talk", "session=open-sesame") in sent
    assert ("/clip.wav", None) in sent
    assert ("/clip.wav", "session=open-sesame") not in sent
    assert path.read_text() == COOKIES


class ConnectProxy:
    """An HTTP proxy that knows CONNECT alone, and notes what it is asked.

    Args:
        status: What it answers; it connects if that is 200.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked: list[list[str]] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        for each in (self._server, *self._open):
            each.close()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1024)
        lines = head.decode().split("\r\n")
        self.asked.append(lines)
        client.sendall(f"HTTP/1.1 {self.status} Said\r\nX-Proxy: yes\r\n\r\n".encode())
        if self.status != 200:
            client.close()
            return
        host, _, port = lines[0].split()[1].rpartition(":")
        site = socket.create_connection((host, int(port)))
        self._open.append(site)
        threading.Thread(target=self._pump, args=(site, client), daemon=True).start()
        self._pump(client, site)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while part := source.recv(65536):
                target.sendall(part)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def proxy_of() -> Iterator[Callable[[int], ConnectProxy]]:
    made: list[ConnectProxy] = []

    def make(status: int) -> ConnectProxy:
        made.append(ConnectProxy(status))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


def test_a_proxy_is_given_checked_addresses_and_never_a_name(
    fetch: Fetch, web: Any, proxy_of: Callable[[int], ConnectProxy]
) -> None:
    proxy = proxy_of(200)
    assert fetch(rules(proxy=f"http://user:p%40ss@127.0.0.1:{proxy.port}")) == clip()
    assert {lines[0] for lines in proxy.asked} == {f"CONNECT 127.0.0.1:{web.port} HTTP/1.1"}
    credentials = base64.b64encode(b"user:p@ss").decode()
    assert all(f"Proxy-Authorization: Basic {credentials}" in lines for lines in proxy.asked)
    # And the sites do not hear of it
    assert all("Proxy-Authorization" not in handler.headers for handler in web.seen)
    assert {handler.headers["Host"] for handler in web.seen} == {f"127.0.0.1:{web.port}", f"media.test:{web.port}"}


@pytest.mark.parametrize("status", [407, 403, 405])
def test_a_proxy_that_refuses_the_worker_is_the_workers_own_fault(
    fetch: Fetch, status: int, proxy_of: Callable[[int], ConnectProxy]
) -> None:
    with pytest.raises(NodeFaultError, match=f"SQSCRIBE_YTDLP_PROXY refuses CONNECT with status {status}"):
        fetch(rules(proxy=f"http://127.0.0.1:{proxy_of(status).port}"))


def test_so_is_one_that_is_not_there(fetch: Fetch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(NodeFaultError, match="SQSCRIBE_YTDLP_PROXY cannot be reached"):
            fetch(rules(proxy=f"http://127.0.0.1:{nobody.getsockname()[1]}"))


def test_a_site_that_the_proxy_cannot_reach_is_the_jobs(fetch: Fetch, proxy_of: Callable[[int], ConnectProxy]) -> None:
    with pytest.raises(TransientError) as caught:
        fetch(rules(proxy=f"http://127.0.0.1:{proxy_of(502).port}"))
    assert caught.value.code is ErrorCode.SOURCE_UNREACHABLE
