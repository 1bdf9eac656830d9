# SPDX-License-Identifier: Apache-2.0
"""A real worker that is started again whenever it ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import psutil

from worker.embedded.program import WorkerProgram

__all__ = ["Exit", "Worker"]

#: What a worker's log says once it takes messages.
_READY = '"engine_ready"'
#: What the engine's process has in its command line.
_ENGINE = "multiprocessing.spawn"


@dataclass(frozen=True, slots=True)
class Exit:
    """How one process of a worker ended.

    Attributes:
        caller: Its access key.
        code: Its exit code; negative for a signal.
        asked: The signal that ended it; None when it ended by itself.
        ready: Whether it had begun to take messages.
        seconds: From the signal to the end.
        at: Unix time of the end.
    """

    caller: str
    code: int
    asked: signal.Signals | None
    ready: bool
    seconds: float
    at: float


class Worker:
    """A worker whose process is replaced whenever it ends. Each process has its own access key, `<name>-<number>`.

    Args:
        name: Short and unique.
        env: Its environment; the access key is added.
        folder: For its logs; also its working directory.
    """

    def __init__(self, name: str, env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.exits: list[Exit] = []
        self._env = dict(env)
        self._folder = folder
        self._lock = threading.RLock()  # guards all below
        self._number = 0
        self._program: WorkerProgram | None = None
        self._asked: tuple[signal.Signals, float] | None = None
        self._ready = False
        self._closed = False

    @property
    def caller(self) -> str:
        """The access key of its present process."""
        return f"{self.name}-{self._number}"

    @property
    def log(self) -> Path:
        """The log of its present process."""
        return self._folder / f"{self.caller}.log"

    @property
    def ready(self) -> bool:
        """Whether it takes messages, and nobody has asked it to end."""
        with self._lock:
            program = self._program
            return program is not None and program.running and not self._asked and self._came_up()

    def look_after(self) -> None:
        """Starts it, if it does not run and is not closed."""
        with self._lock:
            self._bury()
            if self._program is None and not self._closed:
                self._number += 1
                self._program = WorkerProgram(self._env | {"AWS_ACCESS_KEY_ID": self.caller}, self.log)

    def signal(self, number: signal.Signals) -> bool:
        """Sends a signal to the worker's process; False when there is none."""
        with self._lock:
            if self._program is None or not self._program.running:
                return False
            if number in (signal.SIGKILL, signal.SIGTERM) and self._asked is None:
                self._asked = (number, time.time())
            self._program.signal(number)
            return True

    def page(self, path: str) -> str:
        """A page of its HTTP server; empty while it does not answer."""
        with self._lock:
            program = self._program
        try:
            return program.get(path).text if program else ""
        except (OSError, HTTPException):
            return ""

    def engine(self) -> psutil.Process | None:
        """The process of its engine; None where there is none."""
        return next((child for child in self.family()[1:] if _ENGINE in " ".join(_command(child))), None)

    def family(self) -> list[psutil.Process]:
        """Its process and all that this has started, the worker's own first; empty when it does not run."""
        with self._lock:
            if self._program is None or not self._program.running:
                return []
            try:
                process = psutil.Process(self._program.pid)
                return [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return []

    def close(self, timeout: float) -> None:
        """Asks it to end and waits for it; kills it after `timeout` seconds."""
        with self._lock:
            self._closed = True
            program, asked = self._program, self._asked
        if program is None:
            return
        if asked is None:  # a second signal would end it at once
            self.signal(signal.SIGTERM)
        program.wait(timeout)
        with self._lock:
            self._bury()

    def _came_up(self) -> bool:
        self._ready = self._ready or _READY in self.log.read_text("utf-8", errors="replace")
        return self._ready

    def _bury(self) -> None:
        if self._program is None or (code := self._program.process.poll()) is None:
            return
        now = time.time()
        asked, since = self._asked or (None, now)
        self.exits.append(Exit(self.caller, code, asked, self._came_up(), now - since, now))
        self._program, self._asked, self._ready = None, None, False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
