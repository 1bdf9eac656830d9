# SPDX-License-Identifier: Apache-2.0
"""`data:` URLs: clips that are small enough to be written into their address."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

__all__ = ["DATA_CHARACTERS", "EmbeddedClip", "is_data", "shortened", "split_data"]

#: Characters of a `data:` URL: no message of SQS is longer.
DATA_CHARACTERS = 1024 * 1024

_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")
#: Media under a general name, besides `audio/*` and `video/*`.
_GENERAL = frozenset({"", "application/octet-stream", "application/ogg", "application/mp4"})
_BLANKS = re.compile(rb"[\t\n\f\r ]+")


class EmbeddedClip(NamedTuple):
    """What a `data:` URL holds; the type is empty where it names none."""

    media_type: str
    content: bytes


def is_data(url: str) -> bool:
    """Whether this is a `data:` URL, valid or not."""
    return url[:5].lower() == "data:"


def split_data(url: str) -> EmbeddedClip:
    """Type and content of `data:audio/wav;base64,…`, or with percent-encoding instead of base64.

    Raises:
        ValueError: It is none, or holds no recording; the message says why and does not hold the URL.
    """
    if len(url) > DATA_CHARACTERS:
        raise ValueError(f"has {len(url)} characters; a data: URL has at most {DATA_CHARACTERS}")
    head, comma, payload = url.partition(",")
    if not is_data(url) or not comma:
        raise ValueError("must be data:audio/…;base64,… with a comma before the content")
    media_type, *parameters = (part.strip().lower() for part in head[5:].split(";"))
    if media_type not in _GENERAL and not media_type.startswith(("audio/", "video/")):
        raise ValueError("must hold audio or video: data:audio/…;base64,…")
    content = unquote_to_bytes(payload)
    if "base64" in parameters:
        content = _from_base64(content)
    if not content:
        raise ValueError("holds no content behind its comma")
    return EmbeddedClip(media_type, content)


def shortened(url: str) -> str:
    """The URL with the digest of its content in place of that. Never raises."""
    found = _TYPE.match(url, 5)
    try:
        content = split_data(url).content
    except ValueError:
        content = url.encode("utf-8", "surrogatepass")
    return f"data:{found[0].lower() if found else ''};sha256={hashlib.sha256(content).hexdigest()},…"


def _from_base64(text: bytes) -> bytes:
    """As browsers read it: blanks and missing padding do no harm, and both alphabets are known."""
    bare = _BLANKS.sub(b"", text).rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    try:
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        raise ValueError("says base64, and its content is not") from None
