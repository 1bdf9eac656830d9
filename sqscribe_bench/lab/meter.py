# SPDX-License-Identifier: Apache-2.0
"""Measures the CPU time and the memory of processes and of all that they start."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from sqscribe_bench.lab.run import Usage

__all__ = ["Meter", "cpu_seconds"]

_LOOK_SECONDS = 0.25


class Meter:
    """Watches processes and all that they start.

    Args:
        pids: Ids of the processes; the first is the main one.
        look_seconds: How often memory is looked at.
    """

    def __init__(self, pids: Sequence[int], look_seconds: float = _LOOK_SECONDS) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._look_seconds = look_seconds
        self._ended = threading.Event()
        self._peak = self._main_peak = 0  # written by the watching thread alone, read when it has ended
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage:
        """What the processes used while the meter was `running`.

        Raises:
            RuntimeError: The meter still runs.
        """
        if self._usage is None:
            raise RuntimeError("the meter still runs")
        return self._usage

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measures what the processes use inside the `with` block."""
        watcher = threading.Thread(target=self._watch, name="meter", daemon=True)
        before = [cpu_seconds(root) for root in self._roots]
        watcher.start()
        try:
            yield
        finally:
            after = [cpu_seconds(root) for root in self._roots]
            self._ended.set()
            watcher.join()
            spent = [
                sum(late[part] - early[part] for early, late in zip(before, after, strict=True)) for part in range(3)
            ]
            self._usage = Usage(sum(spent), spent[0], spent[1], self._peak, self._main_peak)

    def _watch(self) -> None:
        while True:
            sizes = [sum(_memory(process) for process in _family(root)) for root in self._roots]
            self._peak = max(self._peak, sum(sizes))
            self._main_peak = max(self._main_peak, _memory(self._roots[0]))
            if self._ended.wait(self._look_seconds):
                return


def cpu_seconds(root: psutil.Process) -> tuple[float, float, float]:
    """CPU time of a process, of what has ended and was waited for below it, and of all that still runs below it."""
    own = ended = living = 0.0
    for process in _family(root):
        with suppress(psutil.Error):  # it has just ended; its parent has its time once it is reaped
            times = process.cpu_times()
            theirs, gone = times.user + times.system, times.children_user + times.children_system
            ended += gone  # readers of media end below their own parent
            if process == root:
                own = theirs
            else:
                living += theirs
    return own, ended, living


def _family(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
