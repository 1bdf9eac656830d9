# SPDX-License-Identifier: Apache-2.0
"""How busy a GPU is, as `nvidia-smi` says it again and again, where nvidia-ml-py is not installed."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from sqscribe_bench.lab.run import BenchError
from worker.embedded.starting import start_program

__all__ = ["smi_utilisation"]

_LOOP_MILLISECONDS = 200
_STOP_SECONDS = 5.0


class _Latest:
    """The newest share that was told. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _share
        self._share: float | None = None

    def __call__(self) -> float | None:
        with self._lock:
            return self._share

    def follow(self, lines: IO[bytes]) -> None:
        """Reads percentages to the end; what is none, as `[N/A]`, says that nothing is known."""
        for line in lines:
            text = line.strip()
            with self._lock:
                self._share = int(text) / 100.0 if text.isdigit() else None
        with self._lock:
            self._share = None


@contextmanager
def smi_utilisation(uuid: str | None) -> Iterator[Callable[[], float | None]]:
    """Runs `nvidia-smi`, and gives a function that says the share of the last moments in which a kernel ran.

    Args:
        uuid: NVML's name of the GPU; None for the first one.

    Raises:
        BenchError: There is no such program.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        raise BenchError(
            "neither nvidia-ml-py nor nvidia-smi is there, so nobody can say how busy the GPU is; "
            "pip install nvidia-ml-py"
        )
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    command = [program, *query, f"--loop-ms={_LOOP_MILLISECONDS}", f"--id={uuid or 0}"]
    process = start_program(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if process.stdout is None:
        raise RuntimeError("the process has no standard output")
    latest = _Latest()
    reader = threading.Thread(target=latest.follow, args=(process.stdout,), name="nvidia-smi", daemon=True)
    reader.start()
    try:
        yield latest
    finally:
        process.kill()  # it only reads
        process.wait(_STOP_SECONDS)
        reader.join(_STOP_SECONDS)
        process.stdout.close()
