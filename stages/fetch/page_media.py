# SPDX-License-Identifier: Apache-2.0
"""What a page says about its recording, made fit for a result: any field of it may be wrong, huge or hostile."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from sqscribe.result import Chapter, Media
from sqscribe.urls import storable

__all__ = ["page_media"]

#: Characters of a title or name.
_TEXT = 1000
_CHAPTER_TEXT = 200
_CHAPTERS = 500
#: Seconds; longer is a mistake or a joke.
_LONGEST = 10 * 365 * 86_400.0
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")


def page_media(info: Mapping[str, Any]) -> Media:
    """The media fields of yt-dlp's information about a recording."""
    page = _text(info.get("webpage_url"), 16 * 1024)
    return Media(
        title=_text(info.get("title")),
        uploader=_text(info.get("uploader")) or _text(info.get("channel")) or _text(info.get("creator")),
        upload_date=_date(info.get("upload_date")) or _date(info.get("release_date")),
        duration=_seconds(info.get("duration")),
        chapters=_chapters(info.get("chapters")),
        webpage_url=storable(page) if page else None,
    )


def _text(value: object, most: int = _TEXT) -> str | None:
    """One line of real characters; lone surrogates could not be written, and control characters break terminals."""
    if not isinstance(value, str):
        return None
    head = value[: 2 * most]
    kept = "".join(" " if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in head)
    return " ".join(kept.split())[:most] or None


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= _LONGEST or not math.isfinite(value):
        return None
    return float(value)


def _date(value: object) -> str | None:
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    return f"{found[1]}-{found[2]}-{found[3]}" if found else None


def _chapters(value: object) -> tuple[Chapter, ...]:
    if not isinstance(value, list):
        return ()
    found = []
    for entry in value[:_CHAPTERS]:
        if not isinstance(entry, Mapping):
            continue
        start = _seconds(entry.get("start_time"))
        if start is not None:
            found.append(Chapter(start, _seconds(entry.get("end_time")), _text(entry.get("title"), _CHAPTER_TEXT)))
    return tuple(found)
