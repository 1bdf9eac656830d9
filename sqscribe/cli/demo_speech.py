# SPDX-License-Identifier: Apache-2.0
"""The demo's second round: real speech, by a model that people use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from sqscribe.bundled import Speech, speeches
from sqscribe.cli.demo_round import DemoJob, DemoRound
from sqscribe.cli.demo_weights import MODEL, WeightsSearch
from sqscribe.formats import ARTIFACTS, MASTER, master
from sqscribe.formats.clock import milliseconds, vtt_time
from sqscribe.wer import count_words, word_errors

if TYPE_CHECKING:
    from rich.console import Console

    from sqscribe.cli.demo_report import DemoRun
    from sqscribe.transcript import Transcript
    from worker.embedded.aws import EmbeddedAws

__all__ = ["faults", "transcribe_speech"]

#: Highest share of wrong words of a recording: a released model makes one error or none in this one.
MAX_ERROR_RATE = 0.25


def transcribe_speech(
    aws: EmbeddedAws, search: WeightsSearch, folder: Path, timeout: float, console: Console
) -> list[str]:
    """Transcribes real recordings with the model that was found, and prints each text as it comes.

    Returns:
        What is wrong; empty where nothing is, or where there is no model.

    Raises:
        DemoError: The worker ended, or it took too long.
    """
    weights = search.result()
    if weights is None:
        console.print(f"Real speech left out: {MODEL} cannot be had here; only the bundled model ran.", style="yellow")
        return []
    clips = {clip.name: clip for clip in (*speeches(), *_brought())}
    console.print(f"\nReal speech, by the released model {escape(weights.name)} ({escape(str(weights.folder))}):")

    def arrived(name: str) -> None:
        _show(console, clips[name], _transcript(folder, name))

    jobs = [DemoJob(clip.name, clip.path) for clip in clips.values()]
    run = DemoRound(aws, "speech", str(weights.folder), folder, console).run(jobs, timeout, arrived)
    wrong = [fault for clip in clips.values() for fault in faults(clip, run)]
    if run.worker_exit:
        wrong.append(f"the worker ended with exit code {run.worker_exit}")
    for fault in wrong:
        console.print(f"WRONG: {escape(fault)}", style="bold red")
    return wrong


def faults(clip: Speech, run: DemoRun) -> list[str]:
    """What is wrong with a recording's transcript."""
    result, transcript = run.results[clip.name], _transcript(run.folder, clip.name)
    if transcript is None:
        return [f"{clip.name} {result.status}: {result.error.message if result.error else 'no transcript'}"]
    missed, said = word_errors(clip.text, transcript.text), count_words(clip.text)
    if said and missed > MAX_ERROR_RATE * said:
        return [f"{clip.name} was misheard: {missed} of {said} words, as {transcript.text!r}"]
    return []


def _brought() -> tuple[Speech, ...]:
    """A longer recording where `make real` has brought it; nobody wrote down what is said in it."""
    from sqscribe_bench.real.cache import Cache  # noqa: PLC0415

    path = Cache().root / "long" / "minute.wav"
    title = "a minute of talk, from the tests of Silero VAD (MIT)"
    return (Speech(path.name, path, title, "", 60.0),) if path.is_file() else ()


def _show(console: Console, clip: Speech, transcript: Transcript | None) -> None:
    console.print(f"{clip.name}, {clip.seconds:.0f} s: {escape(clip.title)}")
    if transcript is None:
        return
    for segment in transcript.segments:
        console.print(
            f"  {vtt_time(milliseconds(segment.start))}  [bold]{escape(segment.text.strip())}[/bold]", highlight=False
        )
    if said := count_words(clip.text):
        console.print(f"  {word_errors(clip.text, transcript.text)} of {said} words wrong.", style="dim")


def _transcript(folder: Path, name: str) -> Transcript | None:
    path = folder / name / ARTIFACTS[MASTER].name
    return master.load(path.read_bytes()) if path.exists() else None
