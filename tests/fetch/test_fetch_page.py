# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import hashlib
import io
import socket
import time
import wave
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, PermanentError, SqscribeError, TransientError
from stages.fetch import Fetcher, FetchLimits, FetchRequest, NoAnswerError, PageRules, page_network
from stages.fetch.address import AddressPolicy
from stages.ports import Cancellation
from stages.values import Source


def clip() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(range(256)) * 400)
    return buffer.getvalue()


CLIP = clip()


class Site:
    """Pages of the test's web server, and a fetcher for them."""

    def __init__(self, web: Any, reserve: Any, limits: FetchLimits, folder: Path) -> None:
        self.web = web
        self.held = reserve
        self.limits = limits
        self.folder = folder
        self.cancellation = Cancellation()
        self.policy = AddressPolicy(allow_private=True)
        self.rules = PageRules(generic=True)  # the sites that yt-dlp knows are not this machine's

    def page(self, body: str, path: str = "/talk", **how: Any) -> str:
        url: str = self.web.serve(path, f"<html><head><title>A talk</title></head>{body}</html>".encode(),
                                  "text/html; charset=utf-8", **how)  # fmt: skip
        return url

    def fetch(self, url: str) -> Source:
        fetcher = Fetcher(self.limits, lambda: pytest.fail("S3 was asked"), policy=self.policy, pages=self.rules)
        return fetcher.fetch(FetchRequest(url), self.folder, self.held, self.cancellation)

    def fails(self, url: str, kind: type[SqscribeError] = PermanentError) -> Any:
        with pytest.raises(kind) as caught:
            self.fetch(url)
        assert list(self.folder.iterdir()) == []
        return getattr(caught.value, "code", None)


# yt-dlp leaves files open where it fails, and the garbage collector closes them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture
def site(web: Any, reserve: Any, limits: FetchLimits, tmp_path: Path) -> Iterator[Site]:
    yield Site(web, reserve, limits, tmp_path)
    gc.collect()  # here, where the warning is let pass


def test_the_recording_of_a_page_is_fetched(site: Site) -> None:
    site.web.serve("/media/clip.wav", CLIP, "audio/wav")
    url = site.page('<audio src="/media/clip.wav"></audio>') + "?id=7&X-Amz-Signature=abc"
    source = site.fetch(url)
    assert source.path.parent == site.folder
    assert source.path.name == "source.wav"
    assert source.path.read_bytes() == CLIP
    assert source.sha256 == hashlib.sha256(CLIP).hexdigest()
    assert source.bytes == len(CLIP) == site.held.totals[-1]
    assert source.media.title
    assert source.media.title.startswith("A talk")
    assert source.media.webpage_url is not None
    assert "id=7" in source.media.webpage_url
    assert "abc" not in source.media.webpage_url


def test_a_page_of_an_unknown_site_is_not_searched(site: Site) -> None:
    site.rules = PageRules()
    url = site.page('<audio src="/media/clip.wav"></audio>')
    with pytest.raises(PermanentError, match="a page without media that sqscribe knows") as caught:
        site.fetch(url)
    assert caught.value.code is ErrorCode.MEDIA_UNREADABLE
    assert {handler.path for handler in site.web.seen} == {"/talk"}


def test_a_page_without_media_is_unreadable(site: Site) -> None:
    assert site.fails(site.page("<p>Nothing to hear</p>")) == ErrorCode.MEDIA_UNREADABLE


def test_several_recordings_are_not_guessed_among(site: Site) -> None:
    url = site.page('<audio src="/a.wav"></audio><audio src="/b.wav"></audio>')
    assert site.fails(url) == ErrorCode.MEDIA_UNREADABLE
    assert {handler.path for handler in site.web.seen} == {"/talk"}


@pytest.mark.parametrize("target", ["http://169.254.169.254/clip.wav", "http://127.0.0.1:22/clip.wav"])
@pytest.mark.parametrize("hop", ["direct", "redirect"])
def test_what_a_page_leads_to_passes_the_address_policy(site: Site, target: str, hop: str) -> None:
    if hop == "redirect":
        site.web.redirect("/clip.wav", target)
        target = "/clip.wav"
    assert site.fails(site.page(f'<audio src="{target}"></audio>')) == ErrorCode.SOURCE_BLOCKED


@pytest.mark.parametrize("target", ["file:///etc/hostname", "data:audio/wav;base64,UklGRg==", "ftp://127.0.0.1/a.wav"])
def test_only_the_web_is_read(site: Site, target: str) -> None:
    assert site.fails(site.page(f'<audio src="{target}"></audio>')) == ErrorCode.SOURCE_BLOCKED


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, PermanentError, ErrorCode.SOURCE_NOT_FOUND),
        (403, PermanentError, ErrorCode.SOURCE_FORBIDDEN),
        (503, TransientError, ErrorCode.SOURCE_UNREACHABLE),
    ],
)
def test_media_that_cannot_be_had(site: Site, status: int, kind: type[SqscribeError], code: ErrorCode) -> None:
    site.web.serve("/clip.wav", b"", status=status)
    assert site.fails(site.page('<audio src="/clip.wav"></audio>'), kind) == code


def test_media_whose_host_does_not_answer(site: Site) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        media = f"http://127.0.0.1:{nobody.getsockname()[1]}/clip.wav"
        assert site.fails(site.page(f'<audio src="{media}"></audio>'), NoAnswerError) == ErrorCode.SOURCE_UNREACHABLE


def test_a_player_on_a_host_that_there_is_not(site: Site) -> None:
    def resolve(host: str, port: int, type: int) -> Any:  # noqa: A002 - getaddrinfo's own name
        if host == "nowhere.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return socket.getaddrinfo(host, port, type=type)

    site.policy = AddressPolicy(allow_private=True, resolve=resolve)
    page = site.page('<audio src="http://nowhere.test/clip.wav"></audio>')
    with pytest.raises(NoAnswerError, match=r"http://nowhere\.test/clip\.wav") as caught:
        site.fetch(page)
    assert caught.value.host == "nowhere.test"


def test_a_page_that_refuses_programs_is_forbidden_where_yt_dlp_does_not_know_the_site(site: Site) -> None:
    assert site.fails(site.page("no robots", status=403)) == ErrorCode.SOURCE_FORBIDDEN
    assert len(site.web.seen) == 1


def test_media_that_are_too_large_are_not_brought(site: Site) -> None:
    site.limits = replace(site.limits, max_bytes=len(CLIP) - 1)
    site.web.serve("/clip.wav", CLIP, "audio/wav")
    assert site.fails(site.page('<audio src="/clip.wav"></audio>')) == ErrorCode.SOURCE_TOO_LARGE


def test_a_page_without_end_does_not_fill_the_memory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_network, "_PAGE_BYTES", 10_000)
    site.fails(site.page("x" * 50_000), SqscribeError)


def test_a_cancellation_ends_a_page_download(site: Site) -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/wav")
        handler.send_header("Content-Length", str(len(CLIP)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(CLIP[:5000])
            site.cancellation.cancel(CancelReason.LEASE_LOST)
            site.web.closing.wait(30)

    site.web.routes["/clip.wav"] = silent
    site.limits = replace(site.limits, read_timeout=60)
    began = time.monotonic()
    site.fails(site.page('<audio src="/clip.wav"></audio>'), Cancelled)
    assert time.monotonic() - began < 5


def playlist(*lines: str) -> bytes:
    return "\n".join(("#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:4", *lines, "#EXT-X-ENDLIST", "")).encode()


def test_a_playlist_of_pieces_is_put_together(site: Site) -> None:
    site.web.serve("/1.ts", b"G" * 1880)
    site.web.serve("/2.ts", b"H" * 1880)
    body = playlist("#EXTINF:4,", "1.ts", "#EXTINF:4,", "2.ts")
    source = site.fetch(site.web.serve("/talk.m3u8", body, "application/vnd.apple.mpegurl"))
    assert source.path.read_bytes() == b"G" * 1880 + b"H" * 1880


@pytest.mark.parametrize("piece", ["http://169.254.169.254/2.ts", "file:///etc/hostname"])
def test_the_pieces_of_a_playlist_pass_the_address_policy(site: Site, piece: str) -> None:
    site.web.serve("/1.ts", b"G" * 1880)
    body = playlist("#EXTINF:4,", "1.ts", "#EXTINF:4,", piece)
    site.fails(site.web.serve("/talk.m3u8", body, "application/vnd.apple.mpegurl"), SqscribeError)


def test_no_playlist_makes_yt_dlp_start_ffmpeg(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Given an ffmpeg that tells on whoever starts it
    bin_folder = tmp_path_factory.mktemp("bin")
    program = bin_folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\ntouch {bin_folder}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    # When a playlist has what the native downloader cannot do
    site.web.serve("/1.ts", b"G" * 1880)
    body = playlist('#EXT-X-KEY:METHOD=SAMPLE-AES,URI="/key"', "#EXTINF:4,", "1.ts")
    site.fails(site.web.serve("/talk.m3u8", body, "application/vnd.apple.mpegurl"), SqscribeError)
    # Then nobody did
    assert not (bin_folder / "started").exists()


def test_a_playlist_of_pieces_needs_no_search_of_pages(site: Site) -> None:
    site.rules = PageRules()
    site.web.serve("/1.ts", b"G" * 1880)
    body = playlist("#EXTINF:4,", "1.ts")
    source = site.fetch(site.web.serve("/talk.m3u8", body, "application/vnd.apple.mpegurl"))
    assert source.path.read_bytes() == b"G" * 1880


def test_the_pieces_of_a_dash_manifest_are_put_together(site: Site) -> None:
    site.rules = PageRules()
    for name in ("init", "1", "2"):
        site.web.serve(f"/dash/{name}.m4s", name.encode() * 100)
    manifest = """<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT8S"><Period>
      <AdaptationSet mimeType="audio/mp4" lang="en"><SegmentTemplate timescale="1" duration="4" startNumber="1"
        initialization="init.m4s" media="$Number$.m4s"/>
        <Representation id="a" bandwidth="64000" codecs="mp4a.40.2"/></AdaptationSet></Period></MPD>"""
    url = site.web.serve("/dash/talk.mpd", manifest.encode(), "application/dash+xml")
    assert site.fetch(url).path.read_bytes() == b"init" * 100 + b"1" * 100 + b"2" * 100
    # And one without an end
    live = manifest.replace("static", "dynamic")
    assert site.fails(site.web.serve("/live.mpd", live.encode(), "application/dash+xml")) == ErrorCode.MEDIA_UNREADABLE


@pytest.mark.parametrize(
    "body",
    [
        playlist("#EXTINF:4,", "1.ts").replace(b"#EXT-X-ENDLIST", b""),
        b"#EXTM3U\nhttp://127.0.0.1/clip.mp3\n",
        b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000\n/clip.mp3\n",
        b"no playlist",
    ],
    ids=["live", "list of files", "variant that is a file", "text"],
)
def test_what_only_looks_like_a_playlist_costs_few_requests(site: Site, body: bytes) -> None:
    site.web.serve("/1.ts", b"G" * 1880)
    site.web.serve("/clip.mp3", bytes(range(256)) * 100)
    url = site.web.serve("/talk.m3u8", body, "application/vnd.apple.mpegurl")
    assert site.fails(url) == ErrorCode.MEDIA_UNREADABLE
    assert len(site.web.seen) <= 4


def test_protected_pieces_are_forbidden(site: Site) -> None:
    body = playlist('#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI="skd://key"', "#EXTINF:4,", "1.ts")
    url = site.web.serve("/talk.m3u8", body, "application/vnd.apple.mpegurl")
    assert site.fails(url) == ErrorCode.SOURCE_FORBIDDEN


def test_a_page_may_ask_for_no_more_than_any_job(site: Site) -> None:
    # Given a playlist of more pieces than a job may make requests
    site.web.serve("/1.ts", b"G" * 1880)
    body = playlist(*["#EXTINF:4,", "1.ts"] * 200)
    url = site.web.serve("/talk.m3u8", body, "application/vnd.apple.mpegurl")
    site.limits = replace(site.limits, requests=30)
    # When it is fetched, then it ends there, the requests before yt-dlp's counted in
    assert site.fails(url, TransientError) == ErrorCode.SOURCE_UNREACHABLE
    assert len(site.web.seen) == 30
