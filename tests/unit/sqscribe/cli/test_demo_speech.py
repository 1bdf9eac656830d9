# SPDX-License-Identifier: Apache-2.0
"""What the demo says of real speech, and when it calls it wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from sqscribe.bundled import speeches
from sqscribe.cli import demo_speech
from sqscribe.cli.demo_report import DemoRun
from sqscribe.cli.demo_speech import faults, transcribe_speech
from sqscribe.cli.demo_weights import WeightsSearch
from sqscribe.formats import ARTIFACTS, MASTER, master
from sqscribe.result import ErrorFacts, Result, Timings, WorkerFacts
from sqscribe.transcript import Segment, Transcript
from worker.embedded.aws import EmbeddedAws

(KENNEDY,) = speeches()


def run(folder: Path, text: str | None) -> DemoRun:
    error = ErrorFacts("media_unreadable", "no media") if text is None else None
    if text is not None:
        (folder / KENNEDY.name).mkdir()
        segment = Segment(0, 0.33, 10.0, text, -0.1, 1.0, 0.0, 0.0, ())
        transcript = Transcript(text, "en", 1.0, KENNEDY.seconds, (segment,))
        (folder / KENNEDY.name / ARTIFACTS[MASTER].name).write_bytes(master.dump(transcript))
    result = Result(
        job_id=KENNEDY.name,
        status="failed" if error else "succeeded",
        source=f"s3://demo-recordings/{KENNEDY.name}",
        output="s3://demo-transcripts/speech",
        language="en",
        duration=KENNEDY.seconds,
        speech_duration=KENNEDY.seconds,
        artifacts=(),
        model=None,
        attempts=1,
        origin="m-1",
        timings=Timings(),
        worker=WorkerFacts("0", "node"),
        finished_at="2026-01-01T00:00:00Z",
        error=error,
    )
    return DemoRun({KENNEDY.name: result}, folder, 1.0, 0, (), 0)


def test_what_was_said_is_right_whatever_its_marks(tmp_path: Path) -> None:
    assert faults(KENNEDY, run(tmp_path, KENNEDY.text.upper())) == []


@pytest.mark.parametrize(("text", "why"), [("ask not", "misheard: 20 of 22"), (None, "failed: no media")])
def test_what_was_not_is_said(tmp_path: Path, text: str | None, why: str) -> None:
    (fault,) = faults(KENNEDY, run(tmp_path, text))
    assert why in fault


def test_a_text_is_shown_with_its_times_and_its_source(tmp_path: Path) -> None:
    run(tmp_path, KENNEDY.text)
    shown = io.StringIO()

    demo_speech._show(Console(file=shown, width=200), KENNEDY, demo_speech._transcript(tmp_path, KENNEDY.name))

    first, line, last = shown.getvalue().splitlines()
    assert "Kennedy" in first
    assert "public domain" in first
    assert line == f"  00:00.330  {KENNEDY.text}"
    assert last.strip() == "0 of 22 words wrong."


def test_without_a_model_it_says_so_in_one_line_and_nothing_is_wrong(tmp_path: Path) -> None:
    shown = io.StringIO()

    wrong = transcribe_speech(
        cast("EmbeddedAws", None), WeightsSearch(sources=()), tmp_path, 1.0, Console(file=shown, width=80)
    )

    assert wrong == []
    assert len(shown.getvalue().splitlines()) == 1
    assert "tiny.en cannot be had" in shown.getvalue()
    assert "only the bundled model ran" in shown.getvalue()
