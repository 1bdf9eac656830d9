# SPDX-License-Identifier: Apache-2.0
"""Texts of what is said, and word errors against them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqscribe.cli.references import ReferenceScore, read_references, score_against
from sqscribe.errors import SettingsError


def test_each_source_has_its_own(tmp_path: Path) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        path.write_text(f"text of {path.stem}", "utf-8")

    assert read_references(paths, 2) == ["text of a", "text of b"]


def test_none_are_none() -> None:
    assert read_references([], 3) == [None, None, None]


def test_too_few_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--reference: 1 given for 2 sources"):
        read_references([tmp_path / "a.txt"], 2)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes("für".encode("latin-1"))

    with pytest.raises(SettingsError, match=r"latin\.txt is not a UTF-8 text"):
        read_references([latin], 1)
    with pytest.raises(SettingsError, match=r"gone\.txt cannot be read"):
        read_references([tmp_path / "gone.txt"], 1)


def test_errors_are_counted_without_case_and_punctuation() -> None:
    score = score_against("Ask not what your country can do!", "ask what your country can do for")

    assert score == ReferenceScore(words=7, errors=2)
    assert str(score) == "2 word errors in 7 words (28.6%)"
    assert str(score_against("", "ask")) == "1 word errors in 0 words"
