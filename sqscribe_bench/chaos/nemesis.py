# SPDX-License-Identifier: Apache-2.0
"""The nemesis, as such tests call it: whatever makes processes and disks fail while workers are at work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import assert_never

import psutil

from sqscribe_bench.chaos.workers import Worker

__all__ = ["Disk", "Nemesis", "ProcessFault"]


class ProcessFault(StrEnum):
    """What the nemesis does to a worker's processes or disk."""

    KILL = "SIGKILL of a worker"
    KILL_ENGINE = "SIGKILL of an engine"
    FREEZE = "SIGSTOP past the lease"
    TERMINATE = "SIGTERM"
    FILL_DISK = "full disk"


_TO_PROCESSES = (ProcessFault.KILL, ProcessFault.KILL_ENGINE, ProcessFault.FREEZE, ProcessFault.TERMINATE)


class Disk:
    """A small file system in memory for a worker's scratch.

    Args:
        path: Where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def mounted(cls, path: Path, size: int) -> Iterator[Disk | None]:
        """Mounts one of `size` bytes; None where that is not allowed."""
        path.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        try:
            mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            mounted = False
        try:
            yield cls(path) if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", str(path)], check=True)  # noqa: S607 - wherever it is

    def fill(self) -> None:
        """Fills the disk up to its last byte."""
        chunk = bytes(1 << 20)
        with suppress(OSError), (self.path / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(chunk)

    def empty(self) -> None:
        """Frees what `fill` took."""
        (self.path / "ballast").unlink(missing_ok=True)


class Nemesis:
    """Causes faults at random moments, at most one at a time for each worker.

    Args:
        workers: To be struck.
        disk: Filled up now and then; None where there is none.
        log: File that gets a line for each fault: Unix time, access key of the victim, what it was.
        rng: Decides who is struck, when and how.
        faults: How many there are to be, at least; a full disk does not count.
        seconds: Within how long.
        freeze: Shortest and longest freeze, in seconds; above the lease.

    Attributes:
        faults: How many there were of each kind.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        disk: Disk | None,
        rng: random.Random,
        *,
        log: Path,
        faults: int,
        seconds: float,
        freeze: tuple[float, float],
    ) -> None:
        self.faults: Counter[ProcessFault] = Counter()
        self._workers = workers
        self._disk = disk
        self._log = log
        self._rng = rng
        self._wanted = faults
        self._seconds = seconds
        self._end = 0.0
        self._freeze = freeze
        self._deck: list[ProcessFault] = []  # dealt anew when it is used up, so that every kind has its turn
        self._stopping = threading.Event()
        self._busy: set[str] = set()  # workers that are frozen; the nemesis's thread adds, theirs removes
        self._helpers: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)

    def start(self) -> None:
        """Begins to cause faults."""
        self._end = time.monotonic() + self._seconds
        self._thread.start()

    def stop(self) -> None:
        """Causes no more faults; what is frozen goes on."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        for helper in self._helpers:
            helper.join()

    @property
    def struck(self) -> int:
        """How many faults of processes there were so far."""
        return sum(count for fault, count in self.faults.items() if fault is not ProcessFault.FILL_DISK)

    def _run(self) -> None:
        while not self._stopping.wait(self._pause()):
            if self._disk is not None and self._rng.random() < 0.1:
                self._later(self._fill_disk)
            victims = [worker for worker in self._workers if worker.name not in self._busy and worker.ready]
            if victims:
                self._strike(self._rng.choice(victims))

    def _pause(self) -> float:
        """Seconds until the next fault: at random, denser when there is much to catch up with."""
        left = max(self._end - time.monotonic(), 1.0)
        mean = left / max(self._wanted * 1.1 - self.struck, 1.0)
        return min(self._rng.expovariate(1 / mean), 2 * mean)

    def _strike(self, worker: Worker) -> None:
        if not self._deck:
            self._deck = self._rng.sample(_TO_PROCESSES, len(_TO_PROCESSES))
        fault = self._deck.pop()
        victim = worker.caller
        match fault:
            case ProcessFault.KILL:
                struck = worker.signal(signal.SIGKILL)
            case ProcessFault.TERMINATE:
                struck = worker.signal(signal.SIGTERM)
            case ProcessFault.KILL_ENGINE:
                engine = worker.engine()
                struck = engine is not None
                with suppress(psutil.NoSuchProcess):
                    if engine is not None:
                        engine.kill()
            case ProcessFault.FREEZE:
                struck = True
                whole = self._rng.random() < 0.5
                seconds = self._rng.uniform(*self._freeze)
                self._busy.add(worker.name)
                self._later(self._freeze_worker, worker, whole, seconds)
            case ProcessFault.FILL_DISK:
                raise RuntimeError("no process is struck by a full disk")
            case _:
                assert_never(fault)
        if struck:
            self._count(fault, victim)

    def _count(self, fault: ProcessFault, victim: str) -> None:
        self.faults[fault] += 1
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{time.time():.3f} {victim} {fault}\n")

    def _later(self, work: object, *arguments: object) -> None:
        helper = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._helpers.append(helper)
        helper.start()

    def _freeze_worker(self, worker: Worker, whole: bool, seconds: float) -> None:
        """Stops the worker, alone or with all its children as a frozen node would, for longer than its lease."""
        frozen = worker.family() if whole else worker.family()[:1]
        try:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            self._stopping.wait(seconds)
        finally:
            for process in reversed(frozen):
                with suppress(psutil.NoSuchProcess):
                    process.resume()
            self._busy.discard(worker.name)

    def _fill_disk(self) -> None:
        if self._disk is not None:
            self._count(ProcessFault.FILL_DISK, str(self._disk.path.name))
            self._disk.fill()
            self._stopping.wait(self._rng.uniform(3.0, 10.0))
            self._disk.empty()
