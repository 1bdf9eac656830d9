# SPDX-License-Identifier: Apache-2.0
"""A contender's process: started, told to be ready, and ended."""

from __future__ import annotations

import importlib.util
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import worker
from sqscribe_bench.lab.run import BenchError

__all__ = ["Program", "environment", "unwind_on_sigterm"]

_STOP_SECONDS = 40.0
_TAIL = 1500


def unwind_on_sigterm() -> None:
    """Lets SIGTERM end this process as Ctrl-C does, so that the programs that it has started end with it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


class Program:
    """Runs a Python module. A context manager: the process is gone in the end, and all that it has started with it.

    Args:
        arguments: Behind `python`.
        env: All of its environment.
        log: File for what it writes to standard error, and to standard output if `lines` is false.
        lines: Whether its standard output is read line by line.
    """

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str], log: Path, *, lines: bool = True, python: str = ""
    ) -> None:
        self._log = log
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [python or sys.executable, *arguments],
                stdin=subprocess.PIPE if lines else subprocess.DEVNULL,
                stdout=subprocess.PIPE if lines else file,
                stderr=file,
                env=dict(env),
                cwd=log.parent,  # away from a `.env` file of somebody's
            )
        if lines:
            threading.Thread(target=self._read, name=f"read-{log.stem}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def check(self) -> None:
        """Raises unless the process runs.

        Raises:
            BenchError: With the end of its log.
        """
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"{self._log.stem} ended with exit code {code}: {self._tail()}")

    def line(self, timeout: float) -> str:
        """The next line that it prints.

        Raises:
            BenchError: None came in time, or the process ended.
        """
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise BenchError(f"{self._log.stem} said nothing for {timeout:g} s: {self._tail()}") from None
        if line is None:
            self._process.wait(_STOP_SECONDS)
            self.check()
            raise BenchError(f"{self._log.stem} closed its output: {self._tail()}")
        return line

    def tell(self, line: str) -> None:
        """Writes a line to its standard input."""
        if self._process.stdin is None:
            raise RuntimeError("the process has no standard input")
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self.check()
            raise

    def stop(self) -> None:
        """Asks it to end, waits for it, kills it if it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            raise RuntimeError("the process has no standard output")
        with stream:
            for line in stream:
                self._lines.put(line.decode(errors="replace").rstrip("\n"))
        self._lines.put(None)

    def _tail(self) -> str:
        return self._log.read_text("utf-8", errors="replace")[-_TAIL:].strip()


def environment(**more: str) -> dict[str, str]:
    """This process's environment for a contender's: no settings of sqscribe's, the same packages, CUDA's libraries."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SQSCRIBE_")}
    environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(worker.__file__).parents[1]), environ.get("PYTHONPATH")])
    )
    # faster-whisper leaves it to its user that CUDA's libraries are found; the wheels put them where no loader looks.
    environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [*_cuda_folders(), environ.get("LD_LIBRARY_PATH")]))
    return environ | more


def _cuda_folders() -> list[str]:
    spec = importlib.util.find_spec("nvidia")
    roots = spec.submodule_search_locations if spec else None
    return [str(folder) for root in roots or () for folder in sorted(Path(root).glob("*/lib"))]
