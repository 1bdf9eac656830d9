# SPDX-License-Identifier: Apache-2.0
"""Runs a program for so long at most, and takes with it whatever it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from sqscribe_bench.lab.program import environment
from worker.embedded.starting import start_program

__all__ = ["GRACE_SECONDS", "run_bounded"]

#: Seconds in which a program that was told to end may take leave of its own programs.
GRACE_SECONDS = 10.0


def run_bounded(arguments: Sequence[str], log: Path, limit: float, grace: float = GRACE_SECONDS) -> int | None:
    """Runs a Python program in a process group of its own; what it prints is appended to a file.

    Args:
        arguments: What comes after `python -P`.
        log: The file.
        limit: Seconds.
        grace: Seconds between asking it to end and killing it, its group and its descendants in groups of their own.

    Returns:
        Its exit code; None if it was ended at its limit.
    """
    with log.open("ab") as output:
        process = start_program(
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(PYTHONUNBUFFERED="1"),
            start_new_session=True,
        )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            _end(process, grace)


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """Ends a program and its descendants: workers, servers and ffmpeg have sessions of their own."""
    family = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    if process.returncode is None:
        family += psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
