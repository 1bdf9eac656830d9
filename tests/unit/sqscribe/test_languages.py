# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from sqscribe.language_hints import language_code, language_hint
from sqscribe.languages import LANGUAGES


def test_whisper_knows_a_hundred_languages() -> None:
    assert len(LANGUAGES) == 100
    assert len(set(LANGUAGES.values())) == 100
    assert list(LANGUAGES)[-1] == "yue"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("pt_BR", "pt"),
        ("en_US.UTF-8", "en"),
        (" German ", "de"),
        ("Haitian Creole", "ht"),
        ("English (US)", "en"),
        ("Englsih", "en"),
        ("Deutsch", "de"),
        ("日本語", "ja"),
        ("Farsi", "fa"),
        ("iw", "he"),
        ("jp", "ja"),
        ("cn", "zh"),
        ("zh-Hans", "zh"),
        ("cz", "cs"),
        ("se", "sv"),
        ("nb-NO", "no"),
        ("jv", "jw"),
        ("ger", "de"),
        ("deu", "de"),
        ("cmn", "zh"),
        ("fil", "tl"),
        ("klingon", None),
        ("xx", None),
        ("german " * 100_000, None),
    ],
)
def test_a_name_leads_to_its_code(name: str, code: str | None) -> None:
    assert language_code(name) == code


def test_no_alias_hides_a_code_of_whispers() -> None:
    assert [code for code in LANGUAGES if language_code(code) != code] == []
    assert [name for code, name in LANGUAGES.items() if language_code(name) != code] == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("auto", "leave the field out"),
        ("Detect", "leave the field out"),
        ("", "leave the field out"),
        ("multilingual", "write 'multi'"),
        ("ge", "did you mean 'de' (German) or 'ka' (Georgian)?"),
        ("iw", "did you mean 'he'?"),
        ("German", "did you mean 'de'?"),
        ("klingon", ""),
    ],
)
def test_who_means_no_code_is_told_what_to_write(name: str, hint: str) -> None:
    assert language_hint(name).startswith(hint) if hint else not language_hint(name)
