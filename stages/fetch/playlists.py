# SPDX-License-Identifier: Apache-2.0
"""Lists of addresses that are served where a recording is expected."""

from __future__ import annotations

import re

from sqscribe.errors import ErrorCode, PermanentError

__all__ = ["could_be_playlist", "is_stream"]

_TYPES = frozenset(
    {
        "application/mpegurl",
        "application/pls+xml",
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "application/x-scpls",
        "application/xspf+xml",
        "audio/mpegurl",
        "audio/scpls",
        "audio/x-mpegurl",
        "audio/x-scpls",
        "video/x-ms-asx",
    }
)
_NAME = re.compile(r"\.(m3u8?|pls|xspf|asx|wax|wvx)$", re.IGNORECASE)
#: What each kind begins with.
_HEADS = (
    ("an M3U playlist", re.compile(rb"#EXTM3U\b")),
    ("a PLS playlist", re.compile(rb"\[playlist\]", re.IGNORECASE)),
    ("an XSPF playlist", re.compile(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<playlist\b", re.IGNORECASE | re.DOTALL)),
    ("an ASX playlist", re.compile(rb"<asx\b", re.IGNORECASE)),
)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def could_be_playlist(url: str, content_type: str, head: bytes) -> bool:
    """Whether what begins so is worth reading whole before it is taken for a recording."""
    if _BINARY.search(head):
        return False
    kind = content_type.partition(";")[0].strip().lower()
    return kind in _TYPES or _NAME.search(re.split(r"[?#]", url)[0]) is not None or _kind_of(head) is not None


def is_stream(shown: str, body: bytes) -> bool:
    """Whether a text that could be a playlist is one of HLS, which lists the pieces of one recording.

    Any other lists recordings, or players' guesses at where some may be: one job is one recording.

    Args:
        shown: Its address, for people.
        body: Its text.

    Raises:
        PermanentError: `media_unreadable`: it is a list of another kind.
    """
    if b"#EXT-X-" in body:
        return True
    entries = [line for line in body.decode("utf-8", "replace").splitlines() if line.strip() and line[0] != "#"]
    kind = _kind_of(body) or ("a playlist" if entries else None)
    if kind is None:
        return False
    raise PermanentError(
        ErrorCode.MEDIA_UNREADABLE, f"{shown} is {kind}, not a recording; send the addresses in it as jobs of their own"
    )


def _kind_of(head: bytes) -> str | None:
    bare = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for kind, pattern in _HEADS if pattern.match(bare)), None)
