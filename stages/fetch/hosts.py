# SPDX-License-Identifier: Apache-2.0
"""How many additional connections all fetches together have to a host."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["HostConnections"]


class HostConnections:
    """Keeps the worker from besieging a host: who fetches a file in ranges asks how many more it may have. Thread-safe.

    Args:
        most: Additional connections to one host. Each fetch has its first one anyway.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()  # guards _open
        self._open: Counter[str] = Counter()

    @contextmanager
    def more(self, host: str, wanted: int) -> Iterator[int]:
        """Gives as many of `wanted` additional connections as the host has left."""
        with self._lock:
            granted = max(0, min(wanted, self._most - self._open[host]))
            self._open[host] += granted
        try:
            yield granted
        finally:
            with self._lock:
                self._open[host] -= granted
                if self._open[host] <= 0:
                    del self._open[host]
