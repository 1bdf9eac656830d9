# SPDX-License-Identifier: Apache-2.0
"""Texts that come in place of recordings."""

from __future__ import annotations

import re

from stages.media_kind.ends import Ends
from stages.media_kind.page import page_kind

__all__ = ["text_kind"]

_NAMES_OTHERS = "it names other files and holds no sound; send the address of the media file itself"
_SUBTITLES = "it holds text and no sound; send the recording that it belongs to"
_POINTS = "it points to a file and is not the file; send the file itself"
_WRAPPED = "the upload was stored with its wrapping; send the file alone"
_ENCRYPTED = "decrypt it first"
_NO_SOUND = "it holds no sound; send the recording"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.MULTILINE)


#: Tried in order at the beginning of the text. The first group, if there is one, stands in the sentence for `{}`.
_BEGINNINGS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (_pattern(r"#EXTM3U(?=[\s\S]*^#EXT-X-)"), "an HLS playlist (M3U8)", _NAMES_OTHERS),
    (_pattern(r"#EXT-X-"), "an HLS playlist (M3U8)", _NAMES_OTHERS),
    (_pattern(r"#EXTM3U|#EXTINF:"), "an M3U playlist", _NAMES_OTHERS),
    (_pattern(r"\[playlist\]"), "a PLS playlist", _NAMES_OTHERS),
    (_pattern(r"\[reference\]\s*ref\d*="), "an ASF playlist", _NAMES_OTHERS),
    (
        _pattern(
            r"ffconcat version|file +['\"]?[^\n]+\n(?:\s*(?:file|duration|inpoint|outpoint) |$)|file '[^']+'\s*\Z"
        ),
        "a script that joins files (ffmpeg concat)",
        _NAMES_OTHERS,
    ),
    (_pattern(r";FFMETADATA"), "a file of ffmpeg's metadata", _NO_SOUND),
    (_pattern(r"v=0\s+o="), "a session description (SDP)", "it names a live stream; send a recording of it"),
    (_pattern(r"WEBVTT"), "a subtitle file (WebVTT)", _SUBTITLES),
    (_pattern(r"\d+\s*\n\s*\d+:\d\d:\d\d[,.:]\d+\s*-->"), "a subtitle file (SRT)", _SUBTITLES),
    (_pattern(r"\d+:\d\d:\d\d[,.]\d+\s*-->"), "a subtitle file (SRT)", _SUBTITLES),
    (_pattern(r"\[Script Info\]|\[V4\+? Styles\]"), "a subtitle file (ASS)", _SUBTITLES),
    (_pattern(r"\d+:\d\d:\d\d\.\d{3},\d+:\d\d:\d\d\.\d{3}"), "a subtitle file (SBV)", _SUBTITLES),
    (_pattern(r"\{\d+\}\{\d+\}"), "a subtitle file (MicroDVD)", _SUBTITLES),
    (
        _pattern(r"(?:\[(?:ar|ti|al|by|offset|length|re|ve):[^\]]*\]\s*)*\[\d+:\d\d(?:[.:]\d+)?\]"),
        "a lyrics file (LRC)",
        _SUBTITLES,
    ),
    (_pattern(r"<SAMI\b"), "a subtitle file (SAMI)", _SUBTITLES),
    (_pattern(r"Scenarist_SCC"), "a file of closed captions (SCC)", _SUBTITLES),
    (
        _pattern(r"(?:REM [^\n]*\n|PERFORMER [^\n]*\n|TITLE [^\n]*\n|CATALOG [^\n]*\n)*FILE \"[^\n]*\" \w+\s+TRACK"),
        "a cue sheet (CUE)",
        _NAMES_OTHERS,
    ),
    (_pattern(r"version https://git-lfs\.github\.com/"), "a Git LFS pointer", _POINTS + " (`git lfs pull`)"),
    (_pattern(r"/annex/objects/|\.\./\.git/annex"), "a git-annex pointer", _POINTS),
    (_pattern(r"\[InternetShortcut\]|\[\{000214A0-"), "an internet shortcut (.url)", _POINTS),
    (_pattern(r"\[Desktop Entry\]"), "a desktop shortcut", _POINTS),
    (_pattern(r"magnet:\?"), "a magnet link", _POINTS),
    (_pattern(r"d\d+:(?:announce|created by|creation date|comment|info|encoding|nodes|azureus)"), "a torrent", _POINTS),
    (
        _pattern(r"(?:data:)?(?:audio|video)/[\w.+-]+(?:;[\w=\"., -]+)*;base64,"),
        "a `data:` URL saved as a file",
        "send it as the source of the job, or decode it first",
    ),
    (_pattern(r"--[^\n]{1,80}\r?\nContent-(?:Disposition|Type):"), "the body of a web form (multipart)", _WRAPPED),
    (_pattern(r"[0-9a-f]+;chunk-signature="), "an upload with its signatures in it (aws-chunked)", _WRAPPED),
    (_pattern(r"HTTP/\d(?:\.\d)? (\d{3})"), "an answer of a web server with its head (status {})", _WRAPPED),
    (_pattern(r"(?:GET|POST|PUT) \S+ HTTP/"), "a request to a web server", _NO_SOUND),
    (_pattern(r"-----BEGIN PGP MESSAGE|age-encryption\.org/"), "an encrypted file", _ENCRYPTED),
    (_pattern(r"-----BEGIN ([A-Z ]+)-----"), "a key or certificate in text", _NO_SOUND),
    (_pattern(r"%PDF-"), "a PDF document", _NO_SOUND),
    (_pattern(r"%!PS"), "a PostScript document", _NO_SOUND),
    (_pattern(r"\{\\rtf"), "an RTF document", _NO_SOUND),
    (
        _pattern(r"(?:From|Received|Return-Path|MIME-Version|Delivered-To|Message-ID): "),
        "an e-mail",
        "send the recording that is attached to it",
    ),
    (_pattern(r"begin [0-7]{3} \S+"), "a file in uuencoding", "decode it first"),
    (_pattern(r"#!"), "a script", _NO_SOUND),
    (_pattern(r"<\?php"), "a program (PHP)", _NO_SOUND),
)

#: Texts that go on with bytes of all kinds, besides those that are wrapped or encrypted.
_BEFORE_BYTES = frozenset({"a torrent", "a PDF document", "a PostScript document"})

#: XML, by its first element.
_ELEMENTS = {
    "mpd": ("a DASH manifest (MPD)", _NAMES_OTHERS),
    "smoothstreamingmedia": ("a Smooth Streaming manifest", _NAMES_OTHERS),
    "asx": ("an ASX playlist", _NAMES_OTHERS),
    "smil": ("a SMIL or WPL playlist", _NAMES_OTHERS),
    "playlist": ("an XSPF playlist", _NAMES_OTHERS),
    "rss": ("a podcast's feed (RSS)", "send the address of one episode's file, which its enclosure names"),
    "feed": ("a feed (Atom)", "send the address of a media file"),
    "tt": ("a subtitle file (TTML)", _SUBTITLES),
    "transcript": ("a subtitle file", _SUBTITLES),
    "timedtext": ("a subtitle file", _SUBTITLES),
    "svg": ("an image (SVG)", _NO_SOUND),
    "plist": ("a property list (or .webloc shortcut)", _POINTS),
}
_ELEMENT = re.compile(
    r"(?:<\?[^>]*\?>|<!--[\s\S]*?-->|<!DOCTYPE[^>]*>|\s)*<(?:[\w.-]+:)?([A-Za-z][\w.-]*)", re.IGNORECASE
)
_STORE_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_JSON_ERROR = re.compile(r'"(?:error\w*|errors|fault|exception|message|detail|status_?code)"\s*:', re.IGNORECASE)
_JSON = re.compile(r"[\[{]\s*[\]}\"{\[0-9tfn-]")
_LIST_LINE = re.compile(
    r"(?:[a-z][a-z0-9+.-]{1,9}://\S+|.*\.(?:mp3|m4a|mp4|aac|ogg|opus|wav|flac|wma|webm|mkv|ts|m3u8?|pls))",
    re.IGNORECASE,
)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/_=-]{40,}\s*)+\Z")
#: Characters of the head that these are looked for in.
_LOOKED_AT = 16_384


def text_kind(ends: Ends) -> str | None:
    """What a text is, and what to do; None if the file is no text."""
    text = ends.text
    if text is None:
        # A torrent and a form have bytes of all kinds behind a head of letters.
        return _beginning(ends.head[:512].decode("latin-1").lstrip(), binary=True)
    text = text[:_LOOKED_AT]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if ends.size > len(ends.head):
        lines = lines[:-1]  # it may be cut
    return (
        _beginning(text)
        or page_kind(text)
        or _markup(text)
        or _json(text)
        or _listed(lines)
        or (_BASE64.match(text) and len(text) > 200 and "base64 text: decode it first")
        or f"plain text: {_NO_SOUND}"
    )


def _beginning(text: str, *, binary: bool = False) -> str | None:
    for pattern, what, to_do in _BEGINNINGS:
        found = pattern.match(text)
        if found and (not binary or to_do in {_WRAPPED, _ENCRYPTED} or what in _BEFORE_BYTES):
            return f"{what.format(*found.groups()[:1])}: {to_do}"
    return None


def _markup(text: str) -> str | None:
    found = _ELEMENT.match(text)
    if not found:
        return None
    code = _STORE_CODE.search(text)
    if code and found[1].lower() in {"error", "errorresponse"}:
        return f"an error of a store ({code[1]}) that was saved in place of the file: fetch it again, and send that"
    what, to_do = _ELEMENTS.get(found[1].lower(), ("XML", _NO_SOUND))
    return f"{what}: {to_do}"


def _json(text: str) -> str | None:
    if not _JSON.match(text):
        return None
    if _JSON_ERROR.search(text[:2000]):
        return "an error in JSON that was saved in place of the file: fetch it again, and send that"
    return f"JSON: {_NO_SOUND}"


def _listed(lines: list[str]) -> str | None:
    """A list of files, one a line."""
    if lines and all(_LIST_LINE.fullmatch(line) for line in lines[:20]):
        return f"a playlist (a list of addresses): {_NAMES_OTHERS}"
    return None
