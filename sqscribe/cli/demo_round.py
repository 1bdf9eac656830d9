# SPDX-License-Identifier: Apache-2.0
"""Jobs of the demo on their way from an embedded queue through a real worker to an embedded S3."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqscribe.cli.demo_report import DemoRun
from sqscribe.errors import SqscribeError

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef
    from rich.console import Console

    from sqscribe.result import Result
    from worker.embedded.aws import EmbeddedAws, EmbeddedQueue
    from worker.embedded.program import WorkerProgram

__all__ = ["DemoError", "DemoJob", "DemoRound"]

_SOURCES = "demo-recordings"
_OUTPUT = "demo-transcripts"
_FORMATS = ("json", "srt", "txt")
#: How often the worker is asked for its status, and the bucket for results.
_LOOK_SECONDS = 0.3
#: Seconds that the worker has to end in order.
_STOP_SECONDS = 30.0


class DemoError(SqscribeError):
    """The demo could not be carried through to its end."""


@dataclass(frozen=True, slots=True)
class DemoJob:
    """A recording to transcribe; its name is the job's id."""

    name: str
    path: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)


class DemoRound:
    """One worker with one model, and the jobs that it is given.

    Args:
        aws: The servers.
        name: Of the queue, of the prefix of its results, and of the worker's log.
        model: As `SQSCRIBE_MODEL` has it.
        folder: Gets each job's files, in a folder named after the job, and the worker's log.
        console: Shows the worker while it works.
    """

    def __init__(self, aws: EmbeddedAws, name: str, model: str, folder: Path, console: Console) -> None:
        self._aws = aws
        self._name = name
        self._model = model
        self._folder = folder
        self._console = console
        self._queue: EmbeddedQueue = aws.make_queue(name, max_receives=3, visibility_timeout=30)
        aws.make_bucket(_SOURCES)
        self._output = f"{aws.make_bucket(_OUTPUT)}/{name}"

    def run(
        self, jobs: Sequence[DemoJob], timeout: float, arrived: Callable[[str], None] = lambda _job: None
    ) -> DemoRun:
        """Sends the jobs, and ends when every one has its result and the queue is empty.

        Args:
            jobs: What to do.
            timeout: Seconds after which to give up.
            arrived: Told each job whose files have come, while the others are under way.

        Raises:
            DemoError: The worker ended, or it took too long.
        """
        begun = time.monotonic()
        sent = self._send(jobs)
        with self._worker() as worker:
            results = self._watch(sent, worker, begun + timeout, arrived)
            seconds = time.monotonic() - begun
        return DemoRun(
            results=results,
            folder=self._folder,
            seconds=seconds,
            left=self._aws.count(self._queue.url).total,
            dead=tuple(_named(self._aws.dead_letters(self._queue))),
            worker_exit=worker.process.returncode,
        )

    def _send(self, jobs: Sequence[DemoJob]) -> list[str]:
        """Puts the recordings into S3 and sends a job for each; every other one is fetched over HTTP, the rest from S3.

        Returns:
            The job ids.
        """
        from sqscribe.sender.enqueue import send_jobs  # noqa: PLC0415

        messages = []
        for number, job in enumerate(jobs):
            self._aws.s3.upload_file(str(job.path), _SOURCES, job.name)
            source = f"s3://{_SOURCES}/{job.name}"
            if number % 2:
                place = {"Bucket": _SOURCES, "Key": job.name}
                source = self._aws.s3.generate_presigned_url("get_object", Params=place, ExpiresIn=3600)
            messages.append(
                {"source": source, "job_id": job.name, "formats": list(_FORMATS), "metadata": dict(job.metadata)}
            )
        return [sent.job_id for sent in send_jobs(self._aws.sqs, self._queue.url, messages)]

    def _worker(self) -> WorkerProgram:
        """Starts the real worker as a program of its own."""
        from worker.embedded.environment import free_port  # noqa: PLC0415
        from worker.embedded.program import WorkerProgram, worker_environment  # noqa: PLC0415

        settings = {
            "queue_url": self._queue.url,
            "output": self._output,
            "model": self._model,
            "device": "cpu",
            "visibility_timeout": 30,
            "allow_private_sources": "true",  # the embedded S3 listens on loopback
            "http_port": free_port(),
            "log_format": "json",
        }
        environment = worker_environment(self._aws, settings)
        return WorkerProgram(environment, self._folder / f"{self._name}.log", stop_seconds=_STOP_SECONDS)

    def _watch(
        self, jobs: list[str], worker: WorkerProgram, deadline: float, arrived: Callable[[str], None]
    ) -> dict[str, Result]:
        """Shows the worker until every job has its result and the queue is empty."""
        from rich.live import Live  # noqa: PLC0415

        from sqscribe.cli.live import live_view  # noqa: PLC0415
        from sqscribe.sender.fetch import fetch_results  # noqa: PLC0415

        results: dict[str, Result] = {}
        pause = threading.Event()
        with Live(console=self._console, transient=True, auto_refresh=False) as live:
            while len(results) < len(jobs) or self._aws.count(self._queue.url).total:
                if not worker.running:
                    raise DemoError(f"the worker ended with exit code {worker.process.returncode}; see {worker.log}")
                if time.monotonic() > deadline:
                    missing = ", ".join(sorted(set(jobs) - set(results))) or "none"
                    raise DemoError(f"the demo took too long; without a result: {missing}; see {worker.log}")
                waited_for = [job for job in jobs if job not in results]
                for fetched in fetch_results(self._aws.s3, self._output, waited_for, self._folder):
                    if fetched.result is not None:
                        results[fetched.job_id] = fetched.result
                        arrived(fetched.job_id)
                live.update(live_view(worker.status(), len(results), len(jobs)), refresh=True)
                pause.wait(_LOOK_SECONDS)
        return results


def _named(dead_letters: Iterable[MessageTypeDef]) -> Iterator[tuple[str, str]]:
    """Reads the job id and the error code of each dead letter."""
    for message in dead_letters:
        attributes = message.get("MessageAttributes", {})
        code = attributes["error_code"]["StringValue"] if "error_code" in attributes else "none"
        yield json.loads(message["Body"])["job_id"], code
