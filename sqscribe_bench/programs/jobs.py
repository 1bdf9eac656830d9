# SPDX-License-Identifier: Apache-2.0
"""Measures what the pipeline itself costs: the queue is in memory, the store is a folder, and there is no device.

It is started with its settings as a JSON object, and answers with one line.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from sqscribe.job import JobDefaults
from sqscribe.logs import configure
from sqscribe_bench.lab.meter import cpu_seconds
from stages.inference.protocol import Engine, EngineSettings
from stages.ports import Clock
from worker.build import build_worker
from worker.connect import Connections
from worker.lifecycle import Phase
from worker.node.clock import SystemClock
from worker.queues import BatchResult, Message, Outgoing
from worker.queues.memory import MemoryQueue
from worker.receive.messages import MessageParser, Parsed
from worker.settings import Settings, read_settings
from worker.stores.folder import FolderStore
from worker.telemetry.metrics import Metrics
from worker.testing.engine import FakeEngine

_OUTPUT = "s3://local/transcripts"
_HIDDEN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class JobsSettings:
    """What the program is to do.

    Attributes:
        jobs: How many jobs there are.
        recording: Path of the file that each job transcribes.
        model: `fake`: an engine within this process; else as SQSCRIBE_MODEL.
    """

    jobs: int
    recording: str
    model: str


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of the clock, and CPU seconds of this process, of its readers of media and of its engine."""

    seconds: float
    own: float
    readers: float
    engine: float

    @classmethod
    def so_far(cls) -> Spent:
        """What this process has spent since it began."""
        own, ended, _living = cpu_seconds(psutil.Process())
        engine = sum(_cpu(child.pid) for child in multiprocessing.active_children() if child.pid)
        return cls(time.monotonic(), own, ended, engine)

    def since(self, before: Spent) -> Spent:
        """What was spent since an earlier look."""
        return Spent(*(mine - theirs for mine, theirs in zip(_fields(self), _fields(before), strict=True)))


class _LastDelete(MemoryQueue):
    """A queue in memory that calls back when its last message was deleted."""

    def __init__(self, on_empty: Callable[[], None]) -> None:
        super().__init__(SystemClock(), visibility_timeout=_HIDDEN_SECONDS)
        self._on_empty = on_empty

    def delete(self, messages: Sequence[Message]) -> BatchResult:
        """Deletes, and calls back if nothing is left."""
        result = super().delete(messages)
        if not self:
            self._on_empty()
        return result


class InMemoryRun:
    """One run of a worker in this process."""

    def __init__(self, settings: JobsSettings, folder: Path) -> None:
        self._settings = settings
        self._store = FolderStore(folder)
        self._queue = _LastDelete(self._emptied)
        self._parser = MessageParser(JobDefaults(_OUTPUT))
        self._before: Spent | None = None
        self._after: Spent | None = None

    def run(self) -> Spent:
        """Works until all jobs are done."""
        fake = self._settings.model == "fake"
        settings = read_settings(http_port=0, log_level="error", model="simulated:" if fake else self._settings.model)
        daemon = build_worker(settings, self._connect, _fake_engine if fake else None)

        def finished() -> bool:
            if self._before is None and daemon.phase is Phase.RUNNING:
                bodies = [
                    json.dumps({"source": "s3://bucket/recording", "job_id": f"job-{number}", "language": "en"})
                    for number in range(self._settings.jobs)
                ]
                self._before = Spent.so_far()
                for body in bodies:
                    self._queue.send(None, Outgoing(body))
            if self._after is not None:
                self._queue.close()  # or the end would wait for a long poll
            return self._after is not None

        daemon.run(until=finished)
        if self._before is None or self._after is None:
            raise RuntimeError("the worker ended before its jobs were done")
        return self._after.since(self._before)

    def _emptied(self) -> None:
        self._after = Spent.so_far()

    def _connect(self, _settings: Settings, _metrics: Metrics) -> Connections:
        return Connections(queue=self._queue, store=self._store, parse=self._parse, allow_local=True)

    def _parse(self, message: Message) -> Parsed:
        """A message may not name a path of this machine, so it comes in behind the parser."""
        parsed = self._parser.parse(message.body, message.id)
        return replace(parsed, jobs=tuple(replace(job, source=self._settings.recording) for job in parsed.jobs))


def main() -> None:
    """Does what the settings say, and ends."""
    configure("json", "error")
    settings = JobsSettings(**json.loads(sys.argv[1]))
    with TemporaryDirectory(prefix="sqscribe-bench-") as folder:
        spent = InMemoryRun(settings, Path(folder)).run()
        results = sum(1 for _ in Path(folder).glob("local/transcripts/*/result.json"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    said = asdict(spent) | {"jobs": settings.jobs, "results": results, "peak_memory": peak}
    print(json.dumps(said), flush=True)


def _fake_engine(_settings: EngineSettings, clock: Clock) -> Engine:
    return FakeEngine(clock, text=lambda _task, _window: "word")


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _fields(spent: Spent) -> tuple[float, float, float, float]:
    return spent.seconds, spent.own, spent.readers, spent.engine


if __name__ == "__main__":
    main()
