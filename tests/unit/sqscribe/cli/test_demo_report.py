# SPDX-License-Identifier: Apache-2.0
"""The verdict of `sqscribe demo`: it must be able to fail."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sqscribe.bundled import DemoClip, Expected, demo_clips
from sqscribe.cli.demo_report import DemoRun, report
from sqscribe.formats import ARTIFACTS, MASTER, master
from sqscribe.result import ErrorFacts, Result, Timings, WorkerFacts
from sqscribe.transcript import Transcript

CLIPS = demo_clips()
BROKEN = next(clip for clip in CLIPS if clip.expected is Expected.MEDIA_UNREADABLE)
SILENT = next(clip for clip in CLIPS if clip.expected is Expected.EMPTY)
SHORTEST = min((clip for clip in CLIPS if clip.text), key=lambda clip: len(clip.words))


def result(clip: DemoClip, error: ErrorFacts | None) -> Result:
    return Result(
        job_id=clip.name,
        status="failed" if error else "succeeded",
        source=f"s3://demo-recordings/{clip.name}",
        output="s3://demo-transcripts/v1",
        language=None if error else "en",
        duration=clip.seconds,
        speech_duration=clip.seconds,
        artifacts=(),
        model=None,
        attempts=1,
        origin="m-1",
        timings=Timings(inference=None if error else 0.5),
        worker=WorkerFacts("0", "node"),
        finished_at="2026-01-01T00:00:00Z",
        error=error,
    )


def write(folder: Path, clip: DemoClip, text: str) -> None:
    place = folder / clip.name
    place.mkdir(exist_ok=True)
    transcript = Transcript(text, "en" if text else None, None, clip.seconds, ())
    (place / ARTIFACTS[MASTER].name).write_bytes(master.dump(transcript))


@pytest.fixture
def run(tmp_path: Path) -> DemoRun:
    """A demo that went as it should, with every word in capitals and followed by a comma."""
    for clip in CLIPS:
        if clip is not BROKEN:
            write(tmp_path, clip, ", ".join(clip.text.upper().split()))
    unreadable = ErrorFacts("media_unreadable", "no media")
    return DemoRun(
        results={clip.name: result(clip, unreadable if clip is BROKEN else None) for clip in CLIPS},
        folder=tmp_path,
        seconds=10.0,
        left=0,
        dead=((BROKEN.name, "media_unreadable"),),
        worker_exit=0,
    )


def verdict(run: DemoRun) -> tuple[list[str], str]:
    page = io.StringIO()
    wrong = report(Console(file=page, width=200), CLIPS, run)
    return wrong, page.getvalue()


def test_a_demo_that_went_right_says_so(run: DemoRun) -> None:
    wrong, page = verdict(run)
    assert wrong == []
    assert "All transcripts are right" in page
    assert "WRONG" not in page
    assert all(clip.name in page for clip in CLIPS)


def test_one_clip_with_anothers_transcript_is_wrong_however_short_it_is(run: DemoRun) -> None:
    write(run.folder, SHORTEST, SILENT.text)
    wrong, page = verdict(run)
    assert len(wrong) == 1
    assert SHORTEST.name in wrong[0]
    assert f"WRONG: {SHORTEST.name}" in page
    assert "All transcripts are right" not in page


def test_a_transcript_that_is_missing_is_wrong(run: DemoRun) -> None:
    (run.folder / SHORTEST.name / ARTIFACTS[MASTER].name).unlink()
    assert [fault for fault in verdict(run)[0] if SHORTEST.name in fault]


def test_a_few_words_misheard_in_every_clip_are_too_many_over_all(run: DemoRun) -> None:
    for clip in CLIPS:
        words = clip.text.split()
        write(run.folder, clip, " ".join(word for number, word in enumerate(words) if number % 10))
    wrong, _ = verdict(run)
    assert [fault for fault in wrong if fault.startswith("word error rate")]


def test_words_in_silence_are_wrong(run: DemoRun) -> None:
    write(run.folder, SILENT, "thank you for watching")
    wrong, _ = verdict(run)
    assert len(wrong) == 1
    assert SILENT.name in wrong[0]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"left": 1}, "left in the queue"),
        ({"dead": ()}, "dead-letter queue"),
        ({"dead": ((BROKEN.name, "media_unreadable"),) * 2}, "dead-letter queue"),
        ({"dead": ((BROKEN.name, "bad_message"),)}, "dead-letter queue"),
        ({"worker_exit": 1}, "exit code 1"),
    ],
)
def test_what_is_left_behind_is_wrong(run: DemoRun, change: dict[str, object], names: str) -> None:
    wrong, _ = verdict(replace(run, **change))  # type: ignore[arg-type]  # the table above
    assert len(wrong) == 1
    assert names in wrong[0]


def test_a_job_that_ended_otherwise_than_it_should_is_wrong(run: DemoRun) -> None:
    failed = result(SHORTEST, ErrorFacts("source_unreachable", "away"))
    wrong, _ = verdict(replace(run, results={**run.results, SHORTEST.name: failed}))
    assert [fault for fault in wrong if fault.startswith(SHORTEST.name)]
    passed = result(BROKEN, None)
    wrong, _ = verdict(replace(run, results={**run.results, BROKEN.name: passed}))
    assert [fault for fault in wrong if fault.startswith(BROKEN.name)]
