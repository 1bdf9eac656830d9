# SPDX-License-Identifier: Apache-2.0
"""A contender's program: started, read line by line, and ended."""

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

from sqscribe_bench.lab.run import BenchError
from worker.embedded.environment import clean_environment
from worker.embedded.starting import start_program

__all__ = ["Program", "environment", "unwind_on_sigterm"]

_STOP_SECONDS = 40.0
_TAIL = 1500


def unwind_on_sigterm() -> None:
    """Lets SIGTERM end this process as Ctrl-C does, so that the programs that it has started end with it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


class Program:
    """Runs a Python program that answers line by line. A context manager: the process has ended when it is left.

    Args:
        arguments: What comes after `python -P`, which keeps the files of its folder from hiding a module.
        env: All of its environment.
        log: File for its standard error; its folder is the program's working directory.
        python: The interpreter; this process's own unless another one is named.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], log: Path, *, python: str = "") -> None:
        self._log = log
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with log.open("wb") as file:
            self._process = start_program(
                [python or sys.executable, "-P", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=dict(env),
                cwd=log.parent,  # away from a `.env` file of somebody's
            )
        threading.Thread(target=self._read, name=f"read-{log.stem}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
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
        """Asks the program to end and waits for it; kills it if it takes too long."""
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
    """A clean environment in which a contender finds the same packages as this process, and CUDA's libraries.

    Args:
        more: Other variables, over all others.
    """
    environ = clean_environment()
    # faster-whisper leaves it to its user that CUDA's libraries are found; the wheels put them where no loader looks.
    environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [*_cuda_folders(), environ.get("LD_LIBRARY_PATH")]))
    return environ | more


def _cuda_folders() -> list[str]:
    spec = importlib.util.find_spec("nvidia")
    roots = spec.submodule_search_locations if spec else None
    return [str(folder) for root in roots or () for folder in sorted(Path(root).glob("*/lib"))]
