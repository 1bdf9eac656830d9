# SPDX-License-Identifier: Apache-2.0
"""`sqscribe demo`: the whole way, on this machine alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqscribe.errors import ExitCode, SqscribeError

if TYPE_CHECKING:
    from rich.console import Console

    from sqscribe.bundled import DemoClip
    from sqscribe.cli.demo_report import DemoRun
    from sqscribe.result import Result
    from worker.embedded.aws import EmbeddedAws, EmbeddedQueue

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
    """The demo did not come to its end."""


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
        left=_count(aws, queue.url),
        dead=tuple(_dead_letters(aws, queue.dead_letter_url)),
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


@dataclass(frozen=True, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    port: int
    log: Path


@contextmanager
def _worker(aws: EmbeddedAws, queue: EmbeddedQueue, output: str, folder: Path) -> Iterator[_Worker]:
    """The real worker as a program of its own; told to stop at the end, and ended if it does not."""
    port = _free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SQSCRIBE_")}
    settings = {
        "SQSCRIBE_QUEUE_URL": queue.url,
        "SQSCRIBE_OUTPUT": output,
        "SQSCRIBE_MODEL": "demo",
        "SQSCRIBE_DEVICE": "cpu",
        "SQSCRIBE_VISIBILITY_TIMEOUT": "30",
        "SQSCRIBE_ALLOW_PRIVATE_SOURCES": "true",  # the embedded S3 listens on loopback
        "SQSCRIBE_HTTP_PORT": str(port),
        "SQSCRIBE_LOG_FORMAT": "json",
    }
    log_path = folder / "worker.log"
    with log_path.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "sqscribe", "worker"],
            stdout=log,
            stderr=log,
            env=aws.child_env(environ) | settings,
            cwd=folder,  # away from a `.env` file of somebody's
        )
        try:
            yield _Worker(worker, port, log_path)
            worker.send_signal(signal.SIGTERM)
            worker.wait(_STOP_SECONDS)
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


def _watch(
    aws: EmbeddedAws,
    queue: EmbeddedQueue,
    jobs: list[str],
    output: str,
    worker: _Worker,
    deadline: float,
    console: Console,
) -> dict[str, Result]:
    """Shows the worker until every job has its result and the queue is empty."""
    from rich.live import Live  # noqa: PLC0415

    from sqscribe.cli.live import live_view  # noqa: PLC0415

    results: dict[str, Result] = {}
    pause = threading.Event()
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while len(results) < len(jobs) or _count(aws, queue.url):
            if worker.process.poll() is not None:
                raise DemoError(f"the worker ended with exit code {worker.process.returncode}; see {worker.log}")
            if time.monotonic() > deadline:
                missing = ", ".join(sorted(set(jobs) - set(results))) or "none"
                raise DemoError(f"the demo took too long; without a result: {missing}; see {worker.log}")
            for job in jobs:
                if job not in results and (result := _result(aws, output, job)):
                    results[job] = result
            live.update(live_view(_status(worker.port), len(results), len(jobs)), refresh=True)
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


def _count(aws: EmbeddedAws, url: str) -> int:
    """Messages in a queue, hidden ones included."""
    names: tuple[Any, ...] = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    attributes = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def _dead_letters(aws: EmbeddedAws, url: str) -> Iterator[tuple[str, str]]:
    """Job id and error code of each dead letter."""
    while messages := aws.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=600
    ).get("Messages"):
        for message in messages:
            attributes = message.get("MessageAttributes", {})
            code = attributes["error_code"]["StringValue"] if "error_code" in attributes else "none"
            yield json.loads(message["Body"])["job_id"], code


def _status(port: int) -> Mapping[str, Any] | None:
    """The worker's status page; None while it does not answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/status")
        page: Mapping[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return page


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
