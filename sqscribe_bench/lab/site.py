# SPDX-License-Identifier: Apache-2.0
"""Where the contenders work: the embedded SQS and S3, with the recordings in a bucket."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqscribe.sender.enqueue import send_jobs
from sqscribe_bench.lab.library import Library
from sqscribe_bench.lab.run import BenchError, Task
from sqscribe_bench.lab.workload import WARM_UP, Recording
from worker.embedded.aws import EmbeddedAws

__all__ = ["Site", "source"]

_SOURCES, _RESULTS = "bench-recordings", "bench-results"
#: How often the queue is asked whether it is empty: the error of a run's time, alike for all contenders.
_LOOK_SECONDS = 0.1
#: What is written where: sqscribe's master, and the same name for the others.
_TRANSCRIPT = "transcript.json"


class Site:
    """The servers, and what the benchmark does there. A context manager.

    Args:
        library: Has the recordings.
        folder: For the logs of the contenders.
    """

    def __init__(self, library: Library, folder: Path) -> None:
        self.aws = EmbeddedAws()
        self.folder = folder
        self._library = library
        self._numbers = itertools.count(1)
        self._uploaded: set[Recording] = set()

    def __enter__(self) -> Self:
        self.aws.start()
        for bucket in (_SOURCES, _RESULTS):
            self.aws.make_bucket(bucket)
        self.upload([WARM_UP])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.aws.stop()

    def upload(self, recordings: Iterable[Recording]) -> None:
        """Puts the recordings that are not there yet into the bucket."""
        for recording in recordings:
            if recording not in self._uploaded:
                self.aws.s3.put_object(
                    Bucket=_SOURCES, Key=recording.name, Body=self._library.path(recording).read_bytes()
                )
                self._uploaded.add(recording)

    def put(self, recordings: Iterable[Recording], path: str) -> None:
        """Puts one file into the bucket as all of these recordings."""
        body = Path(path).read_bytes()
        for recording in recordings:
            if recording not in self._uploaded:
                self.aws.s3.put_object(Bucket=_SOURCES, Key=recording.name, Body=body)
                self._uploaded.add(recording)

    def path(self, recording: Recording) -> Path:
        """The recording as a file."""
        return self._library.path(recording)

    def name(self) -> str:
        """One that was not given before: of a queue, an output, a log."""
        return f"run-{next(self._numbers)}"

    def queue(self, name: str, visibility_timeout: int) -> str:
        """Makes a queue and gives its URL."""
        return self.aws.make_queue(name, visibility_timeout=visibility_timeout).url

    def output(self, name: str) -> str:
        """Where a run's results go."""
        return f"s3://{_RESULTS}/{name}"

    def send(self, queue_url: str, task: Task, beam_size: int, language: str) -> None:
        """Sends a message for each recording of a task."""
        self.upload(task.workload.recordings)
        messages = (_message(each, task.words, beam_size, language) for each in task.workload.recordings)
        for _ in send_jobs(self.aws.sqs, queue_url, messages):
            pass

    def send_warm_up(self, queue_url: str, words: bool, beam_size: int, language: str) -> None:
        """Sends the message that nobody's clock counts."""
        for _ in send_jobs(self.aws.sqs, queue_url, [_message(WARM_UP, words, beam_size, language)]):
            pass

    def wait_until_empty(self, queue_url: str, check: Callable[[], None], timeout: float) -> None:
        """Waits until every message was deleted.

        Args:
            queue_url: The queue's.
            check: Called again and again; raises when waiting is in vain.
            timeout: Seconds.

        Raises:
            BenchError: It took too long.
        """
        deadline, pause = time.monotonic() + timeout, threading.Event()
        while left := self._left(queue_url):
            check()
            if time.monotonic() > deadline:
                raise BenchError(f"{left} messages were left after {timeout:g} s")
            pause.wait(_LOOK_SECONDS)

    def transcripts(self, name: str, task: Task) -> dict[str, dict[str, Any]]:
        """The transcript of each recording, by its name.

        Raises:
            BenchError: One is missing.
        """
        found = {}
        for recording in task.workload.recordings:
            key = f"{name}/{recording.name}/{_TRANSCRIPT}"
            try:
                body = self.aws.s3.get_object(Bucket=_RESULTS, Key=key)["Body"].read()
            except self.aws.s3.exceptions.NoSuchKey:
                raise BenchError(f"{recording.name} has no transcript") from None
            found[recording.name] = json.loads(body)
        return found

    def _left(self, queue_url: str) -> int:
        names: tuple[Any, ...] = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        attributes = self.aws.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)


def source(recording: Recording) -> str:
    """The recording's address."""
    return f"s3://{_SOURCES}/{recording.name}"


def _message(recording: Recording, words: bool, beam_size: int, language: str) -> dict[str, Any]:
    return {
        "source": source(recording),
        "job_id": recording.name,
        "language": language,
        "beam_size": beam_size,
        "word_timestamps": words,
        # The master has words in either case; asked for, they come in a second file.
        "formats": ["verbose_json"] if words else ["json"],
    }
