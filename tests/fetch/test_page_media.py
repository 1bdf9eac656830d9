# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.result import Chapter, Media
from stages.fetch.page_media import page_media

INFO: dict[str, Any] = {
    "title": "A talk",
    "channel": "Somebody",
    "upload_date": "20260102",
    "duration": 61,
    "webpage_url": "https://u:p@site.test/v?id=7&X-Amz-Signature=abc",
    "chapters": [{"start_time": 0, "end_time": 30.5, "title": "One"}, {"start_time": 30.5, "title": None}],
}


def test_what_a_page_says_is_kept() -> None:
    assert page_media(INFO) == Media(
        title="A talk",
        uploader="Somebody",
        upload_date="2026-01-02",
        duration=61.0,
        chapters=(Chapter(0.0, 30.5, "One"), Chapter(30.5)),
        webpage_url="https://site.test/v?id=7",
    )


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("title", "x" * 10_000, "x" * 1000),
        ("title", "a\x1b[31m\nb\u2028c\ud800d", "a [31m b c d"),
        ("title", ["a"], None),
        ("title", "", None),
        ("duration", float("nan"), None),
        ("duration", float("inf"), None),
        ("duration", -1, None),
        ("duration", 10**400, None),
        ("duration", "61", None),
        ("duration", True, None),
        ("upload_date", "2026-01-02", None),
        ("upload_date", 20260102, None),
        ("upload_date", "\u0662\u0660260102", None),
        ("chapters", "one", ()),
        ("chapters", [1, {"title": "no start"}, {"start_time": "0"}], ()),
        ("chapters", [{"start_time": 1, "end_time": [], "title": "t" * 999}], (Chapter(1.0, None, "t" * 200),)),
        ("chapters", [{"start_time": n} for n in range(5000)], tuple(Chapter(float(n)) for n in range(500))),
    ],
)
def test_hostile_values_are_cut_or_left_out(field: str, value: object, kept: object) -> None:
    media = page_media(INFO | {field: value})
    assert getattr(media, field) == kept
    json.dumps(asdict(media), ensure_ascii=False, allow_nan=False).encode()


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["start_time", "end_time", "title"]), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*INFO, "uploader", "creator", "release_date"]), anything))
def test_whatever_it_says_it_can_be_written(info: dict[str, Any]) -> None:
    json.dumps(asdict(page_media(info)), ensure_ascii=False, allow_nan=False).encode()
