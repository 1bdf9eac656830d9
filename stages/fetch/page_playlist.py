# SPDX-License-Identifier: Apache-2.0
"""Playlists of pieces (HLS, DASH) that are a source by themselves, or that a page leads to. Imports yt-dlp."""

from __future__ import annotations

import re
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.networking import Request

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.urls import redact

__all__ = ["ManifestIE", "playlist_facts"]

#: Encrypted otherwise, a playlist makes yt-dlp hand over to ffmpeg, which knows no address policy.
_ENCRYPTED = re.compile(r"#EXT-X-(?:SESSION-)?KEY:.*?METHOD=(?!NONE|AES-128)([A-Z0-9-]+)")
_ENDED = re.compile(r"#EXT-X-ENDLIST|#EXT-X-PLAYLIST-TYPE:\s*VOD")


class ManifestIE(InfoExtractor):  # type: ignore[misc]  # yt-dlp ships no types
    """A playlist of pieces at its own address. yt-dlp leaves those to its generic extractor, which reads any page."""

    IE_NAME = "sqscribe:manifest"
    _VALID_URL = r"https?://.+"

    def _real_extract(self, url: str) -> dict[str, Any]:
        name = self._generic_id(url)
        head = self._request_webpage(url, name)
        text = self._webpage_read_content(head, url, name)
        if "<MPD" in text[:4096]:
            document = self._parse_xml(text, name)
            if document.get("type") == "dynamic":
                raise _endless(url)
            formats = self._parse_mpd_formats(document, mpd_base_url=head.url.rpartition("/")[0], mpd_url=head.url)
            return {"id": name, "title": name, "formats": formats}
        if not text.lstrip("\ufeff \r\n").startswith("#EXTM3U"):
            raise _no_playlist(url)
        if "#EXT-X-" not in text:
            raise PermanentError(
                ErrorCode.MEDIA_UNREADABLE,
                f"{redact(url)} is a list of addresses (M3U); send each one as a job of its own",
            )
        formats, _ = self._parse_m3u8_formats_and_subtitles(text, head.url, ext="mp4", m3u8_id="hls", video_id=name)
        return {"id": name, "title": name, "formats": formats}


def playlist_facts(downloader: YoutubeDL, info: dict[str, Any]) -> dict[str, Any]:
    """The text and final address of a playlist that is about to be downloaded.

    yt-dlp takes every line of whatever stands there for the address of a piece: of an MP3, some hundred made-up ones.

    Raises:
        PermanentError: `media_unreadable` for what is no playlist, or has no end yet; `source_forbidden` for one whose
            pieces are protected.
    """
    response = downloader.urlopen(Request(info["url"], headers=info.get("http_headers") or {}))
    text = response.read().decode("utf-8", "ignore")
    if not text.lstrip("\ufeff \r\n").startswith("#EXTM3U"):
        raise _no_playlist(info["url"])
    encrypted = _ENCRYPTED.search(text)
    if encrypted:
        raise PermanentError(
            ErrorCode.SOURCE_FORBIDDEN, f"{redact(info['url'])} is protected against copying ({encrypted[1]})"
        )
    if not _ENDED.search(text):
        raise _endless(info["url"])
    return {"hls_media_playlist_data": text, "url": response.url}


def _no_playlist(url: str) -> PermanentError:
    return PermanentError(
        ErrorCode.MEDIA_UNREADABLE,
        f"{redact(url)} is called a playlist (HLS or DASH) but is none; send the media file itself",
    )


def _endless(url: str) -> PermanentError:
    return PermanentError(
        ErrorCode.MEDIA_UNREADABLE, f"{redact(url)} is a live stream without an end; send it when it has ended"
    )
