# SPDX-License-Identifier: Apache-2.0
"""Starting a program so that it does not outlive this process, whenever a signal comes."""

from __future__ import annotations

import atexit
import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

__all__ = ["start_program"]

#: Signals that end this process by an exception, which may come between any two steps.
_ENDING = (signal.SIGTERM, signal.SIGINT)

_lock = threading.Lock()  # guards _running
_running: list[subprocess.Popen[bytes]] = []


def start_program(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Starts a program; if it still runs when this process ends, it is told to end too.

    A signal that comes meanwhile is kept until the program is noted: it would raise in the middle of
    `subprocess.Popen`, and nobody would know of the process that is there already.

    Args:
        command: Program and arguments.
        options: Of `subprocess.Popen`.
    """
    with _signals_kept():
        process = subprocess.Popen(list(command), **options)
        with _lock:
            _running[:] = [each for each in _running if each.poll() is None]
            _running.append(process)
    return process


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main thread alone
        yield
        return
    kept: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        kept.append(number)

    before = {number: signal.signal(number, keep) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for each in kept:
            signal.raise_signal(each)


@atexit.register
def _end_all() -> None:
    with _lock:
        left = [process for process in _running if process.poll() is None]
    for process in left:
        process.terminate()
