# SPDX-License-Identifier: Apache-2.0
"""What the pipeline itself costs: a worker in this process, its queue in memory, a folder as its store, no device.

Started as a process with what to do as a JSON object; it answers with one line.
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
class Order:
    """What the benchmark asks for.

    Attributes:
        jobs: How many.
        recording: Path of the file that each of them is about.
        model: `fake`: an engine within this process; else as SQSCRIBE_MODEL.
    """

    jobs: int
    recording: str
    model: str


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds: of the clock, and of CPU by this process, by the ffmpegs it ran, and by its engine's process."""

    seconds: float
    own: float
    ffmpeg: float
    engine: float

    @classmethod
    def so_far(cls) -> Spent:
        """Since this process began."""
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        engine = sum(_cpu(child.pid) for child in multiprocessing.active_children() if child.pid)
        return cls(time.monotonic(), own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime, engine)

    def since(self, before: Spent) -> Spent:
        """The difference."""
        return Spent(*(mine - theirs for mine, theirs in zip(_fields(self), _fields(before), strict=True)))


class _LastDelete(MemoryQueue):
    """Tells when nothing is left."""

    def __init__(self, on_empty: Callable[[], None]) -> None:
        super().__init__(SystemClock(), visibility_timeout=_HIDDEN_SECONDS)
        self._on_empty = on_empty

    def delete(self, messages: Sequence[Message]) -> BatchResult:
        """As before."""
        result = super().delete(messages)
        if not self:
            self._on_empty()
        return result


class Bench:
    """One run."""

    def __init__(self, order: Order, folder: Path) -> None:
        self._order = order
        self._store = FolderStore(folder)
        self._queue = _LastDelete(self._emptied)
        self._parser = MessageParser(JobDefaults(_OUTPUT))
        self._before: Spent | None = None
        self._after: Spent | None = None

    def run(self) -> Spent:
        """Works until all jobs are done."""
        fake = self._order.model == "fake"
        settings = read_settings(http_port=0, log_level="error", model="simulated:" if fake else self._order.model)
        daemon = build_worker(settings, self._connect, _fake_engine if fake else None)

        def finished() -> bool:
            if self._before is None and daemon.phase is Phase.RUNNING:
                bodies = [
                    json.dumps({"source": "s3://bucket/recording", "job_id": f"job-{number}", "language": "en"})
                    for number in range(self._order.jobs)
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
        return replace(parsed, jobs=tuple(replace(job, source=self._order.recording) for job in parsed.jobs))


def main() -> None:
    """Does what the order says, and ends."""
    configure("json", "error")
    order = Order(**json.loads(sys.argv[1]))
    with TemporaryDirectory(prefix="sqscribe-bench-") as folder:
        spent = Bench(order, Path(folder)).run()
        results = sum(1 for _ in Path(folder).glob("local/transcripts/*/result.json"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    said = asdict(spent) | {"jobs": order.jobs, "results": results, "peak_memory": peak}
    print(json.dumps(said), flush=True)


def _fake_engine(_settings: EngineSettings, clock: Clock) -> Engine:
    return FakeEngine(clock, text=lambda _task, _window: "word")


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _fields(spent: Spent) -> tuple[float, float, float, float]:
    return spent.seconds, spent.own, spent.ffmpeg, spent.engine


if __name__ == "__main__":
    main()
