# SPDX-License-Identifier: Apache-2.0
"""Flags that tune how text is looked for, on their way from the command line into jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sqscribe.cli import transcribe
from sqscribe.errors import ExitCode, SettingsError
from sqscribe.job import Job
from sqscribe.tuning import Tuning, VadTuning


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that the command would run."""
    found: list[Job] = []

    def run(work: list[transcribe._Work], *_: Any, **__: Any) -> ExitCode:
        found.extend(each.job for each in work)
        return ExitCode.DONE

    monkeypatch.setattr(transcribe, "_run", run)
    monkeypatch.setattr("sqscribe.logs.configure", lambda *_: None)
    return found


def told(*arguments: object) -> tuple[int, str]:
    ran = CliRunner().invoke(transcribe.app, [*map(str, arguments), "talk.wav"])
    return ran.exit_code, ran.output


def test_every_flag_reaches_the_job(jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    code, output = told(
        *("--vad-threshold", 0.6, "--vad-min-silence", 2, "--vad-pad", 0.2, "--no-level", "--max-window", 20),
        *("--languages", "de,fr", "--temperature", "0,0.4", "--no-repeat-ngram-size", 3),
        *("--repetition-penalty", 1.2, "--suppress-numerals", "--track", "all", "--channels", "split"),
    )

    assert (code, output) == (ExitCode.DONE, "")
    assert [job.tuning for job in jobs] == [
        Tuning(
            temperature=(0.0, 0.4),
            no_repeat_ngram_size=3,
            repetition_penalty=1.2,
            suppress_numerals=True,
            languages=("de", "fr"),
            vad=VadTuning(0.6, 2.0, 0.2),
            level=False,
            max_window=20.0,
        )
    ]
    assert jobs[0].vad
    assert (jobs[0].track, jobs[0].channels) == ("all", "split")


def test_a_track_is_a_number_or_all_of_them(jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert told("--track", 2) == (ExitCode.DONE, "")
    assert [(job.track, job.channels) for job in jobs] == [(2, "mix")]
    for wrong in ("-1", "first", "9" * 5000):
        with pytest.raises(SettingsError, match="track: must be the number"):
            CliRunner().invoke(transcribe.app, ["--track", wrong, "talk.wav"], catch_exceptions=False)


def test_a_job_without_flags_has_the_defaults(jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert told("--no-vad") == (ExitCode.DONE, "")
    assert [(job.vad, job.tuning) for job in jobs] == [(False, Tuning())]
