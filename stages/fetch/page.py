# SPDX-License-Identifier: Apache-2.0
"""Pages that yt-dlp knows. Imports yt-dlp: load it lazily."""

from __future__ import annotations

import hashlib
import io
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from yt_dlp.extractor import gen_extractor_classes
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import ExtractorError, GeoRestrictedError, UnsupportedError

from sqscribe.errors import ErrorCode, PermanentError, SqscribeError, TransientError
from sqscribe.urls import redact
from stages.disk import disk_faults
from stages.fetch.client import HttpClient
from stages.fetch.http import CHUNK, PageFoundError
from stages.fetch.page_formats import choose_format
from stages.fetch.page_media import page_media
from stages.fetch.page_network import CheckedYoutubeDL, DebugLogger, Extractor, Line, causes
from stages.fetch.page_playlist import ManifestIE
from stages.fetch.page_refusals import refusal_of
from stages.fetch.page_rules import GENERIC, PageRules
from stages.fetch.request import FetchLimits
from stages.fetch.watch import TransferWatch
from stages.fetch.writer import SourceSpace
from stages.values import Source

__all__ = ["PageDownload"]

#: What else is found in place of a file is a list of its pieces.
_HTML_TYPES = frozenset({"application/xhtml+xml", "text/html"})
_LIVE = frozenset({"is_live", "is_upcoming", "post_live"})


class PageDownload:
    """The one recording of one page on its way to disk.

    Args:
        url: What the job names.
        page: What was found there instead of a file.
        client: Makes yt-dlp's requests.
        space: Where the recording goes.
        watch: What watches the transfer.
        limits: Of time and size.
        rules: Which pages may be read, and how.
    """

    def __init__(
        self,
        url: str,
        page: PageFoundError,
        client: HttpClient,
        space: SourceSpace,
        watch: TransferWatch,
        limits: FetchLimits,
        rules: PageRules,
    ) -> None:
        self._url = url
        self._page = page
        self._line = Line(client, self._check)
        self._space = space
        self._watch = watch
        self._limits = limits
        self._rules = rules
        self._bytes = 0
        self._stopped: SqscribeError | None = None

    def run(self, folder: Path) -> Source:
        """Finds the media and brings them to `folder`.

        A page in which yt-dlp finds no media is `media_unreadable`: the source was found and read, it is just no
        recording, as with any other file that is none.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The disk failed, or the proxy for pages did.
            PermanentError: `media_unreadable`, `source_not_found`, `source_forbidden`, `source_blocked`,
                `source_too_large`.
            TransientError: `source_unreachable`.
        """
        url, extractors = self._way()
        try:
            return self._bring(url, extractors, folder)
        except BaseException:
            for left in folder.glob("source*"):
                left.unlink()
            raise

    def _way(self) -> tuple[str, list[Extractor]]:
        """The address to give to yt-dlp, and the extractors that it may use.

        Raises:
            PermanentError: There is none.
        """
        extractors = self._rules.chosen(gen_extractor_classes())
        # A short link is known by where it leads.
        for url in (self._url, self._page.url):
            if any(kind.IE_NAME != GENERIC and kind.suitable(url) for kind in extractors):
                return url, extractors
        if self._page.refusal:
            raise self._page.refusal
        if self._page.kind not in _HTML_TYPES:
            return self._url, [ManifestIE()]
        if self._rules.generic:
            return self._url, extractors
        every = (kind for kind in gen_extractor_classes() if kind.IE_NAME != GENERIC)
        known = next((kind.IE_NAME for kind in every if kind.suitable(self._page.url)), None)
        raise PermanentError(
            ErrorCode.MEDIA_UNREADABLE,
            f"{redact(self._url)} is a page of a site that this worker does not read ({known}); "
            "SQSCRIBE_YTDLP_EXTRACTORS has the list"
            if known
            else f"{redact(self._url)} is a page without media that sqscribe knows; send the media file's own address",
        )

    def _bring(self, url: str, extractors: list[Extractor], folder: Path) -> Source:
        try:
            with CheckedYoutubeDL(self._line, self._options(folder), extractors) as downloader:
                self._watch.restart(grace=self._limits.page_seconds)
                info = self._one_recording(url, downloader)
                self._watch.restart()
                info = downloader.process_ie_result(info, download=True)
        except SqscribeError:
            raise
        except Exception as error:  # any of 1700 extractors may raise anything
            self._check()
            raise self._failure(error) from error
        return self._source(info, folder)

    def _options(self, folder: Path) -> dict[str, Any]:
        """What yt-dlp may do; what is not named is off by its own default (exec, netrc, browser cookies, configs)."""
        cookies = self._rules.cookies
        return {
            "format": choose_format,
            "outtmpl": {"default": "source.%(ext)s"},
            "paths": {"home": str(folder)},
            "noplaylist": True,
            "extract_flat": "in_playlist",
            "playlist_items": "1:2",  # enough to see that there are several
            "logger": DebugLogger(),
            "quiet": True,
            "noprogress": True,
            "color": "never",
            "cachedir": False,
            # A copy of the text: what a site sets is written there at the end, and forgotten.
            "cookiefile": io.StringIO(cookies) if cookies else None,
            "enable_file_urls": False,
            "usenetrc": False,
            "geo_bypass": False,  # no made-up X-Forwarded-For
            "remote_components": [],
            "js_runtimes": _javascript(),
            "external_downloader": {"default": "native"},
            "hls_prefer_native": True,
            # Some playlists make the native downloader hand over to ffmpeg, which knows no address policy.
            "ffmpeg_location": str(folder / "no-ffmpeg"),
            "fixup": "never",
            "updatetime": False,
            "overwrites": True,
            "continuedl": False,
            "skip_unavailable_fragments": False,  # else a gap in the recording goes unnoticed
            "retries": self._limits.attempts,
            "fragment_retries": self._limits.attempts,
            "progress_hooks": [self._progress],
        }

    def _one_recording(self, url: str, downloader: CheckedYoutubeDL) -> dict[str, Any]:
        info: dict[str, Any] | None = downloader.extract_info(url, download=False)
        if info and info.get("_type") in ("playlist", "multi_video"):
            entries = [entry for entry in info.get("entries") or () if entry]
            if len(entries) != 1:
                raise PermanentError(
                    ErrorCode.MEDIA_UNREADABLE,
                    f"{redact(self._url)} holds {'several recordings' if entries else 'no recording'}; "
                    "send each one as a job of its own",
                )
            info = downloader.process_ie_result(entries[0], download=False)
        if not info:
            raise PermanentError(ErrorCode.MEDIA_UNREADABLE, f"{redact(self._url)} holds no recording")
        if info.get("is_live") or info.get("live_status") in _LIVE:
            raise refusal_of(redact(self._url), "", expected=True, kind="live")
        return info

    def _progress(self, report: dict[str, Any]) -> None:
        """Called by yt-dlp after each block."""
        have = report.get("downloaded_bytes") or 0
        try:
            self._watch.received(max(0, have - self._bytes))
            self._bytes = have
            if report.get("total_bytes"):
                self._space.declare(report["total_bytes"])
            self._space.need(have)
        except SqscribeError as error:
            self._stopped = error

    def _check(self) -> None:
        """Raises the reason if something has ended the download."""
        self._watch.check()
        if self._stopped:
            raise self._stopped

    def _source(self, info: dict[str, Any], folder: Path) -> Source:
        downloads = info.get("requested_downloads") or [{}]
        path = Path(downloads[0].get("filepath") or folder / "nothing")
        if path.parent != folder or not path.is_file():
            raise TransientError(ErrorCode.SOURCE_UNREACHABLE, f"{redact(self._url)}: yt-dlp brought no file")
        self._check()
        size = path.stat().st_size
        self._space.settle(size)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                self._watch.received(len(chunk))
                digest.update(chunk)
        return Source(path=path, bytes=size, sha256=digest.hexdigest(), media=page_media(info))

    def _failure(self, error: BaseException) -> SqscribeError:
        """The error that one of yt-dlp's means for the job."""
        chain = causes(error)
        for cause in chain:
            if isinstance(cause, SqscribeError):
                return cause
        for cause in chain:
            # What is wrong with a connection is ours to tell, and has been; this is about the disk.
            with suppress(OSError), disk_faults():
                if isinstance(cause, OSError):
                    raise cause
        page = redact(self._url)
        status = next((cause.status for cause in chain if isinstance(cause, HTTPError)), None)
        extraction = next((cause for cause in chain if isinstance(cause, ExtractorError)), None)
        if self._line.failure and not extraction and status is None:
            return self._line.failure
        text = extraction.orig_msg if extraction else str(error)
        kinds = ((GeoRestrictedError, "country"), (UnsupportedError, "nothing"))
        kind = next((name for known, name in kinds if isinstance(extraction, known)), None)
        expected = bool(extraction and extraction.expected)
        return refusal_of(page, text, expected=expected, kind=kind, status=status)


@cache
def _javascript() -> dict[str, dict[str, str]]:
    """The program in which yt-dlp solves YouTube's riddles; the package of it lies beside the interpreter."""
    beside = Path(sys.executable).with_name("deno")
    return {"deno": {"path": str(beside)} if beside.is_file() else {}}
