# SPDX-License-Identifier: Apache-2.0
"""Where the demo finds a released model, and that it never waits for one that cannot be had."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from sqscribe import bundled
from sqscribe.cli import demo_weights
from sqscribe.cli.demo_weights import MODEL, ReleasedWeights, WeightsSearch
from sqscribe.errors import SettingsError


def test_a_folder_that_is_named_is_taken_and_nothing_else_is_looked_at() -> None:
    def unasked(_seconds: float) -> Path | None:
        raise AssertionError

    search = WeightsSearch(bundled.model_path(), [unasked])

    assert search.result() == ReleasedWeights("model", bundled.model_path())


def test_a_named_folder_without_a_model_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--weights: .* config\.json, model\.bin, tokenizer\.json missing"):
        WeightsSearch(tmp_path)


def test_the_first_place_that_has_it_is_enough(tmp_path: Path) -> None:
    asked: list[float] = []

    def nothing(seconds: float) -> Path | None:
        asked.append(seconds)
        return None

    assert WeightsSearch(sources=[nothing, lambda _: tmp_path, nothing]).result() == ReleasedWeights(MODEL, tmp_path)
    assert len(asked) == 1
    assert WeightsSearch(sources=[nothing, nothing]).result() is None
    assert all(0 < seconds <= demo_weights.SEARCH_SECONDS for seconds in asked)


def test_a_place_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    # Given a source that hangs
    release = threading.Event()

    def hangs(_seconds: float) -> Path | None:
        release.wait(30.0)
        return tmp_path

    # When the time for the search is over, then nothing was found
    search = WeightsSearch(sources=[hangs], seconds=0.05)
    assert search.result() is None
    release.set()


def test_a_hub_that_takes_the_connection_and_says_nothing_is_left_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("no_proxy", "*")
        began = time.monotonic()

        assert demo_weights._from_hub(60.0) is None

        assert time.monotonic() - began < 30.0


def test_what_was_brought_before_is_found_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQSCRIBE_REAL_CACHE", str(tmp_path))
    assert demo_weights._from_cache(1.0) is None

    (tmp_path / "tiny.en").mkdir()

    assert demo_weights._from_cache(1.0) == tmp_path / "tiny.en"
