# SPDX-License-Identifier: Apache-2.0
"""The demo's closing table, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from sqscribe.bundled import DemoClip, Expected
from sqscribe.formats import ARTIFACTS, MASTER, master
from sqscribe.wer import count_words, word_errors

if TYPE_CHECKING:
    from rich.console import Console

    from sqscribe.result import Result
    from sqscribe.transcript import Transcript

__all__ = ["DemoRun", "report"]

#: Word errors per word, over all clips, that are still taken for right.
MAX_ERROR_RATE = 0.05
#: The same for each clip: a few words misheard are few over all, but one clip's wrong transcript must show.
MAX_CLIP_ERROR_RATE = 0.25


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What came out.

    Attributes:
        results: By the clip's name.
        folder: Where each job's files were fetched to, in a folder named after the job.
        seconds: From the first message sent to the last result.
        left: Messages in the queue at the end, hidden ones included.
        dead: Job id and error code of each dead letter.
        worker_exit: The worker's exit code.
    """

    results: Mapping[str, Result]
    folder: Path
    seconds: float
    left: int
    dead: tuple[tuple[str, str], ...]
    worker_exit: int


def report(console: Console, clips: tuple[DemoClip, ...], run: DemoRun) -> list[str]:
    """Prints what became of every clip; gives what is wrong with the run, empty when nothing is."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("job's files in", overflow="fold")
    for heading in ("audio", "words", "errors", "speed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("became", no_wrap=True)
    wrong: list[str] = []
    said, errors = 0, 0
    for clip in clips:
        result = run.results[clip.name]
        transcript = _transcript(run, clip)
        heard = transcript.text if transcript else ""
        missed = word_errors(clip.text, heard)
        said, errors = said + count_words(clip.text), errors + missed
        became = result.status if result.error is None else f"failed: {result.error.code}"
        wanted = f"failed: {Expected.MEDIA_UNREADABLE}" if clip.expected is Expected.MEDIA_UNREADABLE else "succeeded"
        if became != wanted:
            wrong.append(f"{clip.name} {became}, should have {wanted}")
        if missed > MAX_CLIP_ERROR_RATE * count_words(clip.text) and clip.text:
            wrong.append(f"{clip.name} was misheard: {missed} of {count_words(clip.text)} words, as {heard!r}")
        if clip.expected is Expected.EMPTY and heard:
            wrong.append(f"{clip.name} is silent, and this was heard: {heard!r}")
        seconds = result.timings.inference
        table.add_row(
            f"{run.folder / clip.name}/",
            f"{clip.seconds:.0f} s",
            str(count_words(heard)),
            f"{missed / count_words(clip.text):.1%}" if clip.text else "-",
            f"{clip.seconds / seconds:.0f}x" if seconds else "-",
            became.removeprefix("failed: "),
        )
    console.print(table)
    rate = errors / max(1, said)
    if rate > MAX_ERROR_RATE:
        wrong.append(f"word error rate {rate:.1%}, at most {MAX_ERROR_RATE:.0%} is right")
    wrong += _queue_faults(clips, run)
    audio = sum(clip.seconds for clip in clips)
    console.print(
        f"{len(clips)} jobs, {audio / 60:.1f} minutes of audio in {run.seconds:.1f} s "
        f"({audio / run.seconds:.0f}x real time, the worker's start included). "
        f"Word error rate {rate:.2%} ({errors} of {said} words)."
    )
    console.print(
        "Speed: seconds of audio for each second in the engine, its queue included; jobs share it.", style="dim"
    )
    for fault in wrong:
        console.print(f"WRONG: {fault}", style="bold red")
    if not wrong:
        console.print(
            "All transcripts are right; the broken file's message is in the dead-letter queue.", style="green"
        )
    return wrong


def _transcript(run: DemoRun, clip: DemoClip) -> Transcript | None:
    path = _path(run, clip)
    return master.load(path.read_bytes()) if path.exists() else None


def _path(run: DemoRun, clip: DemoClip) -> Path:
    return run.folder / clip.name / ARTIFACTS[MASTER].name


def _queue_faults(clips: tuple[DemoClip, ...], run: DemoRun) -> list[str]:
    wrong = []
    if run.left:
        wrong.append(f"{run.left} messages are left in the queue")
    broken = [(clip.name, str(clip.expected)) for clip in clips if clip.expected is Expected.MEDIA_UNREADABLE]
    if sorted(run.dead) != sorted(broken):
        wrong.append(f"the dead-letter queue holds {sorted(run.dead)}, should hold {sorted(broken)}")
    if run.worker_exit:
        wrong.append(f"the worker ended with exit code {run.worker_exit}")
    return wrong
