# SPDX-License-Identifier: Apache-2.0
"""The nemesis: what happens to processes and disks."""

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

import psutil

from sqscribe_bench.chaos.workers import Worker

__all__ = ["Blow", "Disk", "Nemesis"]


class Blow(StrEnum):
    """What the nemesis does to a worker."""

    KILL = "SIGKILL of a worker"
    KILL_ENGINE = "SIGKILL of an engine"
    FREEZE = "SIGSTOP past the lease"
    TERMINATE = "SIGTERM"
    FILL_DISK = "full disk"


_TO_PROCESSES = (Blow.KILL, Blow.KILL_ENGINE, Blow.FREEZE, Blow.TERMINATE)


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
        """Takes every byte that is free."""
        chunk = bytes(1 << 20)
        with suppress(OSError), (self.path / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(chunk)

    def empty(self) -> None:
        """Gives them back."""
        (self.path / "ballast").unlink(missing_ok=True)


class Nemesis:
    """Strikes at random, one blow a worker at a time.

    Args:
        workers: Its victims.
        disk: Filled up now and then.
        log: File that tells of each blow: Unix time, access key of the victim, what it was.
        rng: Decides.
        blows: To be struck, at least.
        seconds: In which to do so.
        freeze: Shortest and longest freeze, in seconds; above the lease.

    Attributes:
        blows: That were struck.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        disk: Disk | None,
        rng: random.Random,
        *,
        log: Path,
        blows: int,
        seconds: float,
        freeze: tuple[float, float],
    ) -> None:
        self.blows: Counter[Blow] = Counter()
        self._workers = workers
        self._disk = disk
        self._log = log
        self._rng = rng
        self._wanted = blows
        self._seconds = seconds
        self._end = 0.0
        self._freeze = freeze
        self._deck: list[Blow] = []  # dealt anew when it is used up, so that every kind has its turn
        self._stopping = threading.Event()
        self._busy: set[str] = set()  # workers that are frozen; the nemesis's thread adds, theirs removes
        self._helpers: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._end = time.monotonic() + self._seconds
        self._thread.start()

    def stop(self) -> None:
        """Strikes no more; what is frozen thaws."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        for helper in self._helpers:
            helper.join()

    @property
    def struck(self) -> int:
        """Blows to processes so far."""
        return sum(count for blow, count in self.blows.items() if blow is not Blow.FILL_DISK)

    def _run(self) -> None:
        while not self._stopping.wait(self._pause()):
            if self._disk is not None and self._rng.random() < 0.1:
                self._later(self._fill_disk)
            victims = [worker for worker in self._workers if worker.name not in self._busy and worker.ready]
            if victims:
                self._strike(self._rng.choice(victims))

    def _pause(self) -> float:
        """Seconds until the next blow: at random, denser when there is much to catch up with."""
        left = max(self._end - time.monotonic(), 1.0)
        mean = left / max(self._wanted * 1.1 - self.struck, 1.0)
        return min(self._rng.expovariate(1 / mean), 2 * mean)

    def _strike(self, worker: Worker) -> None:
        if not self._deck:
            self._deck = self._rng.sample(_TO_PROCESSES, len(_TO_PROCESSES))
        blow = self._deck.pop()
        victim = worker.caller
        match blow:
            case Blow.KILL:
                struck = worker.signal(signal.SIGKILL)
            case Blow.TERMINATE:
                struck = worker.signal(signal.SIGTERM)
            case Blow.KILL_ENGINE:
                engine = worker.engine()
                struck = engine is not None
                with suppress(psutil.NoSuchProcess):
                    if engine is not None:
                        engine.kill()
            case _:
                struck = True
                whole = self._rng.random() < 0.5
                seconds = self._rng.uniform(*self._freeze)
                self._busy.add(worker.name)
                self._later(self._freeze_worker, worker, whole, seconds)
        if struck:
            self._count(blow, victim)

    def _count(self, blow: Blow, victim: str) -> None:
        self.blows[blow] += 1
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{time.time():.3f} {victim} {blow}\n")

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
            self._count(Blow.FILL_DISK, str(self._disk.path.name))
            self._disk.fill()
            self._stopping.wait(self._rng.uniform(3.0, 10.0))
            self._disk.empty()
