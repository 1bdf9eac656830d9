# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from sqscribe.errors import ErrorCode, PermanentError
from stages.fetch.page_formats import choose_format


def sound(name: str, abr: float | None = None, **more: Any) -> dict[str, Any]:
    return {"format_id": name, "vcodec": "none", "acodec": "opus", "abr": abr, "protocol": "https"} | more


def video(name: str, tbr: float | None = None, **more: Any) -> dict[str, Any]:
    return {"format_id": name, "vcodec": "h264", "acodec": "aac", "tbr": tbr, "protocol": "https"} | more


def chosen(*formats: dict[str, Any]) -> str | None:
    return next((each["format_id"] for each in choose_format({"formats": list(formats)})), None)


#: As YouTube offers them, worst first.
YOUTUBE = (
    {"format_id": "sb0", "ext": "mhtml", "vcodec": "none", "acodec": "none", "protocol": "mhtml"},
    sound("233", None, protocol="m3u8_native"),
    sound("599", 31, asr=22050),
    sound("600", 35, asr=48000),
    sound("249", 50, asr=48000, language_preference=-1),
    sound("249-orig", 51, asr=48000, language_preference=10),
    sound("139-orig", 49, asr=22050, language_preference=10),
    sound("140-orig", 129, asr=44100, language_preference=10),
    sound("251-orig", 140, asr=48000, language_preference=10),
    video("18", 500),
    {"format_id": "137", "vcodec": "h264", "acodec": "none", "protocol": "https", "tbr": 4000},
)


@pytest.mark.parametrize(
    ("formats", "name"),
    [
        (YOUTUBE, "139-orig"),
        ((sound("low", 24), sound("mid", 64), sound("high", 320)), "mid"),
        ((sound("low", 16), sound("better", 32)), "better"),
        ((sound("phone", 64, asr=8000), sound("whole", 96, asr=44100)), "whole"),
        ((sound("worse"), sound("best")), "best"),
        ((sound("unknown"), sound("known", 64)), "known"),
        ((video("tiny", 150), video("small", 450), video("large", 4000)), "small"),
        ((video("tiny", 100), video("small", 200)), "small"),
        ((video("worse"), video("best")), "best"),
        ((video("small", 450), sound("sound", 128)), "sound"),
        ((sound("drm", 64, has_drm=True), sound("free", 128)), "free"),
        ((sound("rtmp", 64, protocol="rtmp"), sound("web", 640)), "web"),
        ((sound("drm", 64, has_drm=True),), None),
        ((sound("pictures", 64, ext="mhtml", protocol="mhtml"),), None),
        (({"format_id": "plain", "protocol": "http"},), "plain"),
        ((sound("odd", "many"), sound("even", 64)), "even"),  # type: ignore[arg-type]
        ((), None),
    ],
)
def test_the_smallest_in_which_speech_is_whole(formats: tuple[dict[str, Any], ...], name: str | None) -> None:
    assert chosen(*formats) == name


@pytest.mark.parametrize("protocol", ["rtmp", "websocket_frag", "file", "data", "ftp", "mms", "https_evil", None])
def test_other_ways_than_the_webs_are_blocked(protocol: str | None) -> None:
    with pytest.raises(PermanentError) as caught:
        chosen(sound("only", 64, protocol=protocol), sound("pictures", ext="mhtml"))
    assert caught.value.code is ErrorCode.SOURCE_BLOCKED
