# SPDX-License-Identifier: Apache-2.0
"""`sqscribe demo`: a job's whole way from queue to transcript, on this machine alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sqscribe.errors import ExitCode

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(name="demo")
def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for transcripts and the worker's logs.")] = (
        Path("sqscribe-demo")
    ),
    timeout: Annotated[float, typer.Option(help="Seconds after which the demo gives up.")] = 300.0,
    speech: Annotated[bool, typer.Option("--speech/--no-speech", help="Transcribe real speech, too.")] = True,
    weights: Annotated[
        Path | None,
        typer.Option(
            envvar="SQSCRIBE_DEMO_WEIGHTS",
            help="CTranslate2 folder of the model for real speech. Default: tiny.en, if it can be had in 20 s.",
        ),
    ] = None,
) -> None:
    """Transcribe the bundled clips with an embedded SQS, an embedded S3 and the bundled model.

    Starts the servers, sends a message for each clip, runs the real worker on them, shows every stage while it works,
    and compares the transcripts with what was said. Needs no network and no AWS account, whatever `AWS_*` says.

    The bundled model knows 107 words. Where a released one can be had, a second worker transcribes real speech with it.
    """
    from rich.console import Console  # noqa: PLC0415 - `--help` should answer at once

    from sqscribe.bundled import demo_clips  # noqa: PLC0415
    from sqscribe.cli.demo_report import report  # noqa: PLC0415
    from sqscribe.cli.demo_round import DemoJob, DemoRound  # noqa: PLC0415
    from sqscribe.cli.demo_speech import transcribe_speech  # noqa: PLC0415
    from sqscribe.cli.demo_weights import WeightsSearch  # noqa: PLC0415
    from worker.embedded.aws import EmbeddedAws  # noqa: PLC0415

    console = Console()
    clips = demo_clips()
    folder.mkdir(parents=True, exist_ok=True)
    search = WeightsSearch(weights) if speech else None  # looks around while the bundled model works
    console.print(f"Starting an embedded SQS and S3 for {len(clips)} clips …")
    with EmbeddedAws() as aws:
        jobs = [DemoJob(clip.name, clip.path, {"voices": clip.voices}) for clip in clips]
        run = DemoRound(aws, "worker", "demo", folder, console).run(jobs, timeout)
        wrong = report(console, clips, run)
        if search is not None:
            wrong += transcribe_speech(aws, search, folder, timeout, console)
    raise typer.Exit(ExitCode.JOBS_FAILED if wrong else ExitCode.DONE)
