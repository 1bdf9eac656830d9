# SPDX-License-Identifier: Apache-2.0
"""Put thousands of short jobs through one worker and look at what it holds: memory, files, threads, scratch.

From the tenth of the jobs to the last, nothing may grow by more than 5 % or 10 MB. First comes a worker with the
simulated engine, then one with the bundled model.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean
from tempfile import mkdtemp

import psutil
from rich.console import Console
from rich.table import Table

import worker
from sqscribe_bench.chaos.recordings import Studio
from sqscribe_bench.chaos.workers import Worker
from sqscribe_bench.lab.program import unwind_on_sigterm
from worker.embedded.aws import EmbeddedAws, EmbeddedQueue

SOURCES, OUTPUT = "soak-sources", "soak-results"
#: Recordings; jobs take turns with them.
RECORDINGS = 50
#: Growth that is still flat: this share, or so many bytes, or so many files or threads, whichever is more.
SHARE, BYTES, PIECES = 0.05, 10 << 20, 2
#: The places that are compared, as shares of all jobs.
EARLY, LATE = (0.10, 0.20), (0.90, 1.00)
LOOK_SECONDS = 0.5
STOP_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a worker holds at one moment; bytes, or pieces."""

    worker_memory: int
    engine_memory: int
    worker_files: int
    engine_files: int
    worker_threads: int
    engine_threads: int
    scratch: int


@dataclass(frozen=True, slots=True)
class Growth:
    """One of a sample's figures, early and late."""

    name: str
    early: float
    late: float
    most: float

    @property
    def flat(self) -> bool:
        """Whether it has not grown."""
        in_bytes = self.name.endswith(("memory", "scratch"))
        return self.late - self.early <= max(SHARE * self.early, BYTES if in_bytes else PIECES)


def main() -> int:
    """Entry point; 1 when something grew."""
    parser = argparse.ArgumentParser(prog="python -m sqscribe_bench.soak", description=__doc__)
    parser.add_argument("--simulated", type=int, default=2000, help="jobs for the simulated engine")
    parser.add_argument("--real", type=int, default=300, help="jobs for the bundled model")
    parser.add_argument("--minutes", type=float, default=12.0, help="for both together")
    parser.add_argument("--folder", type=Path, help="for logs (default: a fresh one)")
    asked = parser.parse_args()
    unwind_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else 120)
    folder = asked.folder or Path(mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"logs in {folder}")
    end, flat = time.monotonic() + 60 * asked.minutes, True
    with EmbeddedAws() as aws:
        _record(aws)
        for name, model, jobs in (("simulated", "simulated:parallel=2", asked.simulated), ("real", "demo", asked.real)):
            begun = time.monotonic()
            samples = list(_soak(aws, name, model, jobs, folder, end))
            took = time.monotonic() - begun
            done = samples[-1][0] if samples else 0
            growths = _growths(samples, jobs) if done >= jobs else []
            flat = flat and bool(growths) and all(growth.flat for growth in growths)
            console.print(_table(f"{name} engine: {done} of {jobs} jobs in {took:.0f} s", growths))
    console.print("flat" if flat else "NOT flat, or not done in time")
    return 0 if flat else 1


def _record(aws: EmbeddedAws) -> None:
    for bucket in (SOURCES, OUTPUT):
        aws.make_bucket(bucket)
    studio = Studio(random.Random(1))
    for number in range(RECORDINGS):
        aws.s3.put_object(Bucket=SOURCES, Key=f"clip-{number}", Body=studio.clip((2.0, 5.0)))


def _soak(aws: EmbeddedAws, name: str, model: str, jobs: int, folder: Path, end: float) -> Iterator[tuple[int, Sample]]:
    """Runs a worker until its jobs are done or time is up; gives jobs done and what it holds, again and again."""
    queue = aws.make_queue(name)
    _send(aws, queue, name, jobs)
    scratch, port = folder / f"scratch-{name}", _free_port()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("SQSCRIBE_")}
    settings = {
        "PYTHONPATH": str(Path(worker.__file__).parents[1]),
        "SQSCRIBE_QUEUE_URL": queue.url,
        "SQSCRIBE_OUTPUT": f"s3://{OUTPUT}/{name}",
        "SQSCRIBE_MODEL": model,
        "SQSCRIBE_DEVICE": "cpu",
        "SQSCRIBE_FORMATS": "json,srt",
        "SQSCRIBE_SCRATCH_DIR": str(scratch),
        "SQSCRIBE_HTTP_PORT": str(port),
        "SQSCRIBE_LOG_FORMAT": "json",
    }
    one, pause = Worker(name, aws.child_env(environ) | settings, folder), threading.Event()
    one.look_after()
    try:
        done = 0
        while done < jobs and time.monotonic() < end:
            pause.wait(LOOK_SECONDS)
            done = _done(port)
            sample = _sample(one, scratch)
            if sample is not None:
                yield done, sample
    finally:
        one.close(STOP_SECONDS)


def _send(aws: EmbeddedAws, queue: EmbeddedQueue, name: str, jobs: int) -> None:
    for first in range(0, jobs, 10):
        entries = [
            {
                "Id": str(number),
                "MessageBody": json.dumps(
                    {"source": f"s3://{SOURCES}/clip-{number % RECORDINGS}", "job_id": f"{name}-{number}"}
                ),
            }
            for number in range(first, min(first + 10, jobs))
        ]
        aws.sqs.send_message_batch(QueueUrl=queue.url, Entries=entries)  # type: ignore[arg-type]


def _done(port: int) -> int:
    """Jobs that have succeeded, from the worker's metrics; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5.0) as answer:
            page = answer.read().decode()
    except OSError:
        return 0
    found = re.search(r'^sqscribe_jobs_total\{outcome="succeeded"\} (\S+)$', page, re.MULTILINE)
    return int(float(found[1])) if found else 0


def _sample(one: Worker, scratch: Path) -> Sample | None:
    """What the worker and its engine hold; None while one of them is not there."""
    family, engine = one.family(), one.engine()
    if not family or engine is None:
        return None
    parent = family[0]
    try:
        return Sample(
            worker_memory=parent.memory_info().rss,
            engine_memory=engine.memory_info().rss,
            worker_files=parent.num_fds(),
            engine_files=engine.num_fds(),
            worker_threads=parent.num_threads(),
            engine_threads=engine.num_threads(),
            # `os.walk` passes over folders that go while it looks; `Path.rglob` fails at them.
            scratch=sum(_size(Path(folder, name)) for folder, _, names in os.walk(scratch) for name in names),
        )
    except psutil.NoSuchProcess:
        return None


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _growths(samples: Sequence[tuple[int, Sample]], jobs: int) -> list[Growth]:
    early, late = (
        [sample for done, sample in samples if span[0] * jobs <= done <= span[1] * jobs] for span in (EARLY, LATE)
    )
    later = [sample for done, sample in samples if done >= EARLY[0] * jobs]
    if not early or not late:
        return []
    return [
        Growth(
            field.name.replace("_", " "),
            mean(getattr(sample, field.name) for sample in early),
            mean(getattr(sample, field.name) for sample in late),
            max(getattr(sample, field.name) for sample in later),
        )
        for field in fields(Sample)
    ]


def _table(title: str, growths: Sequence[Growth]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", f"at {EARLY[0]:.0%}", f"at {LATE[1]:.0%}", "most", "flat"):
        table.add_column(column, justify="left" if not column else "right")
    for growth in growths:
        figures = [_shown(growth.name, value) for value in (growth.early, growth.late, growth.most)]
        table.add_row(growth.name, *figures, "yes" if growth.flat else "NO")
    return table


def _shown(name: str, value: float) -> str:
    return f"{value / (1 << 20):.1f} MB" if name.endswith(("memory", "scratch")) else f"{value:.1f}"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
