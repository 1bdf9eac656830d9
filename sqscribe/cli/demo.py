# SPDX-License-Identifier: Apache-2.0
"""`sqscribe demo`: a job's whole way from queue to transcript, on this machine alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqscribe.errors import ExitCode, SqscribeError

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef
    from rich.console import Console

    from sqscribe.bundled import DemoClip
    from sqscribe.cli.demo_report import DemoRun
    from sqscribe.result import Result
    from worker.embedded.aws import EmbeddedAws, EmbeddedQueue
    from worker.embedded.program import WorkerProgram

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_SOURCES = "demo-recordings"
_OUTPUT = "demo-transcripts"
_FORMATS = ("json", "srt", "txt")
#: How often the worker is asked for its status, and the bucket for results.
_LOOK_SECONDS = 0.3
#: Seconds that the worker has to end in order.
_STOP_SECONDS = 30.0


class DemoError(SqscribeError):
    """The demo could not be carried through to its end."""


@app.command(name="demo")
def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for transcripts and the worker's log.")] = Path(
        "sqscribe-demo"
    ),
    timeout: Annotated[float, typer.Option(help="Seconds after which the demo gives up.")] = 300.0,
) -> None:
    """Transcribe the bundled clips with an embedded SQS, an embedded S3 and the bundled model.

    Starts the servers, sends a message for each clip, runs the real worker on them, shows every stage while it works,
    and compares the transcripts with what was said. Needs no network and no AWS account, whatever `AWS_*` says.
    """
    from rich.console import Console  # noqa: PLC0415 - `--help` should answer at once

    from sqscribe.bundled import demo_clips  # noqa: PLC0415
    from sqscribe.cli.demo_report import report  # noqa: PLC0415
    from worker.embedded.aws import EmbeddedAws  # noqa: PLC0415

    console = Console()
    clips = demo_clips()
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"Starting an embedded SQS and S3 for {len(clips)} clips …")
    with EmbeddedAws() as aws:
        run = _run(aws, clips, folder, timeout, console)
    wrong = report(console, clips, run)
    raise typer.Exit(ExitCode.JOBS_FAILED if wrong else ExitCode.DONE)


def _run(aws: EmbeddedAws, clips: tuple[DemoClip, ...], folder: Path, timeout: float, console: Console) -> DemoRun:
    from sqscribe.cli.demo_report import DemoRun  # noqa: PLC0415
    from sqscribe.sender.fetch import fetch_results  # noqa: PLC0415

    queue = aws.make_queue("demo", max_receives=3, visibility_timeout=30)
    aws.make_bucket(_SOURCES)
    output = f"{aws.make_bucket(_OUTPUT)}/v1"
    begun = time.monotonic()
    jobs = _send(aws, queue, clips)
    with _worker(aws, queue, output, folder) as worker:
        results = _watch(aws, queue, jobs, output, worker, begun + timeout, console)
        seconds = time.monotonic() - begun
    list(fetch_results(aws.s3, output, jobs, folder))
    return DemoRun(
        results=results,
        folder=folder,
        seconds=seconds,
        left=aws.count(queue.url).total,
        dead=tuple(_named(aws.dead_letters(queue))),
        worker_exit=worker.process.returncode,
    )


def _send(aws: EmbeddedAws, queue: EmbeddedQueue, clips: tuple[DemoClip, ...]) -> list[str]:
    """Puts the clips into S3 and sends a job for each; every other one is fetched over HTTP, the rest from S3.

    Returns:
        The job ids: the clips' names.
    """
    from sqscribe.sender.enqueue import send_jobs  # noqa: PLC0415

    messages = []
    for number, clip in enumerate(clips):
        aws.s3.upload_file(str(clip.path), _SOURCES, clip.name)
        source = f"s3://{_SOURCES}/{clip.name}"
        if number % 2:
            place = {"Bucket": _SOURCES, "Key": clip.name}
            source = aws.s3.generate_presigned_url("get_object", Params=place, ExpiresIn=3600)
        messages.append(
            {"source": source, "job_id": clip.name, "formats": list(_FORMATS), "metadata": {"voices": clip.voices}}
        )
    return [sent.job_id for sent in send_jobs(aws.sqs, queue.url, messages)]


def _worker(aws: EmbeddedAws, queue: EmbeddedQueue, output: str, folder: Path) -> WorkerProgram:
    """Starts the real worker as a program of its own."""
    from worker.embedded.environment import free_port  # noqa: PLC0415
    from worker.embedded.program import WorkerProgram, worker_environment  # noqa: PLC0415

    settings = {
        "queue_url": queue.url,
        "output": output,
        "model": "demo",
        "device": "cpu",
        "visibility_timeout": 30,
        "allow_private_sources": "true",  # the embedded S3 listens on loopback
        "http_port": free_port(),
        "log_format": "json",
    }
    return WorkerProgram(worker_environment(aws, settings), folder / "worker.log", stop_seconds=_STOP_SECONDS)


def _watch(
    aws: EmbeddedAws,
    queue: EmbeddedQueue,
    jobs: list[str],
    output: str,
    worker: WorkerProgram,
    deadline: float,
    console: Console,
) -> dict[str, Result]:
    """Shows the worker until every job has its result and the queue is empty."""
    from rich.live import Live  # noqa: PLC0415

    from sqscribe.cli.live import live_view  # noqa: PLC0415

    results: dict[str, Result] = {}
    pause = threading.Event()
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while len(results) < len(jobs) or aws.count(queue.url).total:
            if not worker.running:
                raise DemoError(f"the worker ended with exit code {worker.process.returncode}; see {worker.log}")
            if time.monotonic() > deadline:
                missing = ", ".join(sorted(set(jobs) - set(results))) or "none"
                raise DemoError(f"the demo took too long; without a result: {missing}; see {worker.log}")
            for job in jobs:
                if job not in results and (result := _result(aws, output, job)):
                    results[job] = result
            live.update(live_view(worker.status(), len(results), len(jobs)), refresh=True)
            pause.wait(_LOOK_SECONDS)
    return results


def _result(aws: EmbeddedAws, output: str, job: str) -> Result | None:
    from sqscribe.result import RESULT_NAME, Result  # noqa: PLC0415
    from sqscribe.urls import split_s3  # noqa: PLC0415

    place = split_s3(f"{output}/{job}/{RESULT_NAME}")
    try:
        answer = aws.s3.get_object(Bucket=place.bucket, Key=place.key)
    except aws.s3.exceptions.NoSuchKey:
        return None
    return Result.from_json(answer["Body"].read())


def _named(dead_letters: Iterable[MessageTypeDef]) -> Iterator[tuple[str, str]]:
    """Reads the job id and the error code of each dead letter."""
    for message in dead_letters:
        attributes = message.get("MessageAttributes", {})
        code = attributes["error_code"]["StringValue"] if "error_code" in attributes else "none"
        yield json.loads(message["Body"])["job_id"], code
