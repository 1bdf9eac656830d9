# SPDX-License-Identifier: Apache-2.0
"""Which of a page's formats is fetched: the smallest in which speech is whole.

Whisper hears 16 kHz in mono. At 48 kbit/s the codecs of the web are transparent for that; a video's picture, and most
of the bits of music, are brought for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sqscribe.errors import ErrorCode, PermanentError

__all__ = ["choose_format"]

#: kbit/s of sound that are enough, and of a stream with a picture in which the sound is not starved.
_ENOUGH_SOUND = 48.0
_ENOUGH_WITH_PICTURE = 400.0
#: Hz; less would lose what the model could hear.
_ENOUGH_RATE = 16_000.0
#: Others would make yt-dlp start rtmpdump, mplayer or ffmpeg.
_PROTOCOLS = re.compile(r"https?|m3u8|m3u8_native|http_dash_segments")

#: Pictures of a video at intervals.
_STORYBOARD = "mhtml"

Format = Mapping[str, Any]


def choose_format(context: Mapping[str, Any]) -> Iterator[Format]:
    """As yt-dlp's `format` option takes it: gives the one format that is fetched, or none.

    Sound alone comes before a video; of those in the original language, the smallest that is good enough; of those that
    do not say how large they are, the best by yt-dlp's own order (in which they come, the best last).

    Raises:
        PermanentError: `source_blocked`: all of them come by other ways than the web's.
    """
    ways = {str(each.get("protocol")) for each in context.get("formats") or () if each.get("ext") != _STORYBOARD}
    if ways and not any(_PROTOCOLS.fullmatch(way) for way in ways):
        shown = ", ".join(sorted(ways))[:80]
        raise PermanentError(ErrorCode.SOURCE_BLOCKED, f"the page has its recording by {shown} alone, which is refused")
    usable = [each for each in context.get("formats") or () if _usable(each)]
    sound = [each for each in usable if each.get("vcodec") == "none"]
    candidates = _original(sound or usable)
    if candidates:
        yield (
            _smallest_enough(candidates, ("abr", "tbr"), _ENOUGH_SOUND)
            if sound
            else _smallest_enough(candidates, ("tbr",), _ENOUGH_WITH_PICTURE)
        )


def _usable(each: Format) -> bool:
    protocol = each.get("protocol") or ""
    return (
        bool(_PROTOCOLS.fullmatch(protocol))
        and each.get("acodec") != "none"
        and not each.get("has_drm")
        and each.get("ext") != _STORYBOARD
    )


def _original(formats: list[Format]) -> list[Format]:
    """Those of the language that the page prefers: of a dubbed video, the original."""
    preferences = [_number(each, "language_preference", -1.0) for each in formats]
    return [each for each, preference in zip(formats, preferences, strict=True) if preference == max(preferences)]


def _smallest_enough(formats: list[Format], fields: tuple[str, ...], enough: float) -> Format:
    def rate(each: Format) -> float:
        return next((found for found in (_number(each, field, 0.0) for field in fields) if found), 0.0)

    good = [each for each in formats if rate(each) >= enough and _number(each, "asr", _ENOUGH_RATE) >= _ENOUGH_RATE]
    if good:
        return min(good, key=rate)
    return max(reversed(formats), key=rate)


def _number(each: Format, field: str, default: float) -> float:
    value = each.get(field)
    return float(value) if isinstance(value, int | float) else default
