# SPDX-License-Identifier: Apache-2.0
"""The demo's second round: real speech through SQS, a worker with tiny.en, and S3."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sqscribe.bundled import speeches
from sqscribe.cli.demo_speech import transcribe_speech
from sqscribe.cli.demo_weights import WeightsSearch
from sqscribe.formats import ARTIFACTS, MASTER, master
from sqscribe.wer import word_errors
from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.packages import MODELS
from worker.embedded.aws import EmbeddedAws


def test_real_speech_is_transcribed_and_shown(cache: Cache, tmp_path: Path) -> None:
    # Given a released model
    try:
        search = WeightsSearch(cache.item(MODELS["tiny.en"]))
    except CannotBeHadError as error:
        pytest.skip(str(error))
    shown = io.StringIO()

    # When the demo transcribes what it has of real speech
    with EmbeddedAws() as aws:
        wrong = transcribe_speech(aws, search, tmp_path, 120.0, Console(file=shown, width=200))

    # Then the words are those that were said, and they were shown, with the model's name
    assert wrong == []
    for clip in speeches():
        text = master.load((tmp_path / clip.name / ARTIFACTS[MASTER].name).read_bytes()).text
        assert word_errors(clip.text, text) <= 1
    assert "by the released model tiny.en" in shown.getvalue()
    assert "your country" in shown.getvalue()
