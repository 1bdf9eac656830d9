# SPDX-License-Identifier: Apache-2.0
"""The memory that an engine takes, of the device or, without one, of the host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import torch

__all__ = ["MemoryWatch", "memory_in_use"]

#: Scores of one encoder layer live for a millisecond, but many times a second.
_LOOK_SECONDS = 0.02


def memory_in_use(device: torch.device) -> int:
    """Bytes of a GPU's memory that are taken, by whomever; on a CPU, those of this process."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free
    return int(psutil.Process().memory_info().rss)


class MemoryWatch:
    """Remembers the most that was in use while it was `watching`.

    Args:
        in_use: Bytes, now.
        look_seconds: Between two looks.
    """

    def __init__(self, in_use: Callable[[], int], look_seconds: float = _LOOK_SECONDS) -> None:
        self._in_use = in_use
        self._look_seconds = look_seconds
        self.peak = 0  # written by the watching thread alone, read when it has ended

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches what happens inside."""
        ended = threading.Event()
        self.peak = 0
        watcher = threading.Thread(target=self._watch, args=(ended,), name="memory", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _watch(self, ended: threading.Event) -> None:
        while True:
            self.peak = max(self.peak, self._in_use())
            if ended.wait(self._look_seconds):
                return
