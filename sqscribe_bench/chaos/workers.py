# SPDX-License-Identifier: Apache-2.0
"""Real workers as programs: started, watched, and started again whenever they end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

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
        code: As `subprocess` gives it.
        asked: By which signal it was asked to; None: it ended by itself.
        ready: Whether it had come so far as to take messages.
        seconds: From the signal to the end.
        at: Unix time.
    """

    caller: str
    code: int
    asked: signal.Signals | None
    ready: bool
    seconds: float
    at: float


class Worker:
    """One worker through all its lives. Each life has an access key of its own, `<name>-<number>`.

    Args:
        name: Short and unique.
        env: Environment without credentials.
        folder: For its logs; also its working directory.
    """

    def __init__(self, name: str, env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.exits: list[Exit] = []
        self._env = dict(env)
        self._folder = folder
        self._lock = threading.RLock()  # guards all below
        self._life = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: tuple[signal.Signals, float] | None = None
        self._ready = False
        self._closed = False

    @property
    def caller(self) -> str:
        """The access key of its present life."""
        return f"{self.name}-{self._life}"

    @property
    def log(self) -> Path:
        """The log of its present life."""
        return self._folder / f"{self.caller}.log"

    @property
    def ready(self) -> bool:
        """Whether it takes messages, and nobody has asked it to end."""
        with self._lock:
            return self._process is not None and self._process.poll() is None and not self._asked and self._came_up()

    def look_after(self) -> None:
        """Starts it, if it does not run and is not closed."""
        with self._lock:
            self._bury()
            if self._process is None and not self._closed:
                self._life += 1
                with self.log.open("wb") as log:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "sqscribe", "worker"],
                        stdout=log,
                        stderr=log,
                        env=self._env | {"AWS_ACCESS_KEY_ID": self.caller},
                        cwd=self._folder,
                    )

    def signal(self, number: signal.Signals) -> bool:
        """Sends a signal to the worker's process; False when there is none."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
            if number in (signal.SIGKILL, signal.SIGTERM) and self._asked is None:
                self._asked = (number, time.time())
            self._process.send_signal(number)
            return True

    def engine(self) -> psutil.Process | None:
        """Its engine's process."""
        return next((child for child in self.family()[1:] if _ENGINE in " ".join(_command(child))), None)

    def family(self) -> list[psutil.Process]:
        """It and all that it has started."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return []
            try:
                process = psutil.Process(self._process.pid)
                return [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return []

    def close(self, timeout: float) -> None:
        """Asks it to end and waits for it; kills it after `timeout` seconds."""
        with self._lock:
            self._closed = True
            process, asked = self._process, self._asked
        if process is None:
            return
        if asked is None:  # a second signal would end it at once
            self.signal(signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with self._lock:
            self._bury()

    def _came_up(self) -> bool:
        self._ready = self._ready or _READY in self.log.read_text("utf-8", errors="replace")
        return self._ready

    def _bury(self) -> None:
        if self._process is None or (code := self._process.poll()) is None:
            return
        now = time.time()
        asked, since = self._asked or (None, now)
        self.exits.append(Exit(self.caller, code, asked, self._came_up(), now - since, now))
        self._process, self._asked, self._ready = None, None, False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
