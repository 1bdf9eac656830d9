# SPDX-License-Identifier: Apache-2.0
"""Pages that yt-dlp knows. Imports yt-dlp: load it lazily."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from yt_dlp.extractor import gen_extractor_classes
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import ExtractorError, GeoRestrictedError, UnsupportedError

from sqscribe.errors import ErrorCode, PermanentCode, PermanentError, SqscribeError, TransientError
from sqscribe.urls import redact, storable
from stages.disk import disk_faults
from stages.fetch.address import spoken_text
from stages.fetch.client import HttpClient, refusal
from stages.fetch.http import CHUNK
from stages.fetch.page_network import CheckedYoutubeDL, DebugLogger, Line, causes
from stages.fetch.request import FetchLimits
from stages.fetch.watch import TransferWatch
from stages.fetch.writer import SourceSpace
from stages.values import Media, Source

__all__ = ["PageDownload", "knows"]

#: Audio alone where there is such a stream. Other protocols make yt-dlp start rtmpdump, mplayer or ffmpeg.
_PROTOCOLS = r"[protocol~='^(https?|m3u8|m3u8_native|http_dash_segments)$']"
_FORMAT = f"ba{_PROTOCOLS}/b{_PROTOCOLS}"

_LIVE = frozenset({"is_live", "is_upcoming", "post_live"})
_FORBIDDEN = re.compile(
    r"private|sign in|log.?in|logged|member|subscri|password|cookies|confirm your age|drm", re.IGNORECASE
)
_GONE = re.compile(
    r"unavailable|not available|removed|deleted|no longer|does(?:n't| not) exist|not found|expired", re.IGNORECASE
)


def knows(url: str) -> bool:
    """Whether yt-dlp has an extractor made for this URL (any page will do for its generic one)."""
    return any(kind.suitable(url) and kind.IE_NAME != "generic" for kind in gen_extractor_classes())


class PageDownload:
    """The one recording of one page on its way to disk."""

    def __init__(
        self, url: str, client: HttpClient, space: SourceSpace, watch: TransferWatch, limits: FetchLimits
    ) -> None:
        self._url = url
        self._line = Line(client, self._check)
        self._space = space
        self._watch = watch
        self._limits = limits
        self._bytes = 0
        self._stopped: SqscribeError | None = None

    def run(self, folder: Path) -> Source:
        """Finds the media and brings them to `folder`.

        A page in which yt-dlp finds no media is `media_unreadable`: the source was found and read, it is just no
        recording, as with any other file that is none.

        Raises:
            Cancelled: The job is called off.
            NodeFaultError: The disk failed.
            PermanentError: `media_unreadable`, `source_not_found`, `source_forbidden`, `source_blocked`,
                `source_too_large`.
            TransientError: `source_unreachable`.
        """
        try:
            return self._bring(folder)
        except BaseException:
            for left in folder.glob("source*"):
                left.unlink()
            raise

    def _bring(self, folder: Path) -> Source:
        try:
            with CheckedYoutubeDL(self._line, self._options(folder)) as downloader:
                self._watch.restart(grace=self._limits.page_seconds)
                info = self._one_recording(downloader)
                self._watch.restart()
                info = downloader.process_ie_result(info, download=True)
        except SqscribeError:
            raise
        except Exception as error:  # any of 1700 extractors may raise anything
            self._check()
            with disk_faults():
                for cause in causes(error):
                    if isinstance(cause, OSError):
                        raise cause from None
            raise self._failure(error) from error
        return self._source(info, folder)

    def _options(self, folder: Path) -> dict[str, Any]:
        """What yt-dlp may do; what is not named is off by its own default (exec, netrc, browser cookies, configs)."""
        return {
            "format": _FORMAT,
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
            "enable_file_urls": False,
            "allowed_extractors": ["default"],
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

    def _one_recording(self, downloader: CheckedYoutubeDL) -> dict[str, Any]:
        info: dict[str, Any] = downloader.extract_info(self._url, download=False)
        if info.get("_type") in ("playlist", "multi_video"):
            entries = [entry for entry in info.get("entries") or () if entry]
            if len(entries) != 1:
                raise PermanentError(
                    ErrorCode.MEDIA_UNREADABLE,
                    f"{redact(self._url)} holds {'several recordings' if entries else 'no recording'}; "
                    "send each one as a job of its own",
                )
            info = downloader.process_ie_result(entries[0], download=False)
        if info.get("is_live") or info.get("live_status") in _LIVE:
            raise PermanentError(
                ErrorCode.MEDIA_UNREADABLE, f"{redact(self._url)} is a live stream; send it when it has ended"
            )
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
        return Source(path=path, bytes=size, sha256=digest.hexdigest(), media=_media(info))

    def _failure(self, error: BaseException) -> SqscribeError:
        """The error that one of yt-dlp's means for the job."""
        chain = causes(error)
        for cause in chain:
            if isinstance(cause, SqscribeError):
                return cause
        status = next((cause.status for cause in chain if isinstance(cause, HTTPError)), None)
        if status is not None:
            return refusal(status, f"{redact(self._url)}: yt-dlp met HTTP status {status}")
        extraction = next((cause for cause in chain if isinstance(cause, ExtractorError)), None)
        if self._line.failure and not extraction:
            return self._line.failure
        text = extraction.orig_msg if extraction else str(error)
        said = f"{redact(self._url)}: {spoken_text(text)}"
        if isinstance(extraction, UnsupportedError):
            return PermanentError(ErrorCode.MEDIA_UNREADABLE, f"{redact(self._url)} is a page without media")
        code = _refusal_code(extraction, text)
        if code is None:  # neither a site's answer nor a network error: the site has changed, or distrusts a program
            return TransientError(ErrorCode.SOURCE_UNREACHABLE, f"{said}; a newer yt-dlp may know better")
        return PermanentError(code, said)


def _refusal_code(extraction: ExtractorError | None, text: str) -> PermanentCode | None:
    """What a site's answer means; None if the site gave none.

    yt-dlp has few classes of errors: its sentences have to be read.
    """
    if isinstance(extraction, GeoRestrictedError) or _FORBIDDEN.search(text):
        return ErrorCode.SOURCE_FORBIDDEN
    if _GONE.search(text):
        return ErrorCode.SOURCE_NOT_FOUND
    if extraction and extraction.expected:
        return ErrorCode.MEDIA_UNREADABLE
    return None


def _media(info: dict[str, Any]) -> Media:
    duration = info.get("duration")
    page = _text(info.get("webpage_url"))
    return Media(
        title=_text(info.get("title")),
        uploader=_text(info.get("uploader") or info.get("channel")),
        webpage_url=storable(page) if page else None,
        duration=float(duration) if isinstance(duration, int | float) else None,
    )


def _text(value: object) -> str | None:
    return value[:1000] if isinstance(value, str) and value else None
