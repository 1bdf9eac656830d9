# SPDX-License-Identifier: Apache-2.0
"""The rows that wait for the device, and which of them go next."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator

from stages.inference.engine.rows import BatchKey, Row
from stages.inference.engine.turns import Turns

__all__ = ["Pool"]


class Pool:
    """Rows by key: fresh ones in turns, and those to be retried. It has no lock: the scheduler calls it under its own.

    Keys take turns batch by batch, the least recently served first, so that whatever a batch leaves parked on the
    device (encoder outputs of probed rows) is worked off before the next batch of its kind makes more of it.

    Args:
        retry_seconds: How long a row to be retried may wait for others of its key.
    """

    def __init__(self, retry_seconds: float) -> None:
        self._retry_seconds = retry_seconds
        self._fresh: dict[BatchKey, Turns] = {}  # none of them empty
        self._retries: dict[BatchKey, deque[tuple[float, Row]]] = {}  # with the time since which each waits
        self._served: dict[BatchKey, int] = {}  # the number of the batch that served a key last
        self._numbers = itertools.count(1)

    def add(self, row: Row, *, ahead: bool) -> None:
        """Queues a row, `ahead` of all jobs' turns or in its own job's."""
        self._fresh.setdefault(row.key, Turns()).add(row, ahead=ahead)

    def add_retry(self, row: Row, now: float) -> None:
        """Queues a row that may wait for company."""
        self._retries.setdefault(row.key, deque()).append((now, row))

    def drop(self, job: str) -> None:
        """Forgets the job's rows."""
        for turns in self._fresh.values():
            turns.drop(job)
        self._fresh = {key: turns for key, turns in self._fresh.items() if turns}
        for key, waiting in list(self._retries.items()):
            kept = deque((since, row) for since, row in waiting if row.job.key != job)
            if kept:
                self._retries[key] = kept
            else:
                del self._retries[key]

    def due(self) -> Iterator[float]:
        """When the retries of each key have waited long enough."""
        return (self._due(waiting) for waiting in self._retries.values())

    def take(self, limit: int, now: float, *, idle: bool) -> list[Row]:
        """The rows that go next, at most `limit`, all of one key.

        Args:
            limit: Rows of a full batch.
            now: The time.
            idle: Whether the device has nothing to do. While it has, the batch under way may bring company.

        Returns:
            None when there is nothing, or only retries that had better wait for company.
        """
        oldest_first = sorted(self._retries, key=lambda key: self._retries[key][0][0])
        for key in oldest_first:
            waiting = self._retries[key]
            if len(waiting) >= limit or now >= self._due(waiting) or any(row.urgent for _, row in waiting):
                return self._take_retries(key, limit)
        if self._fresh:
            key = min(self._fresh, key=lambda key: self._served.get(key, 0))
            self._served[key] = next(self._numbers)
            rows = self._fresh[key].take(limit)
            if not self._fresh[key]:
                del self._fresh[key]
            return rows
        return self._take_retries(oldest_first[0], limit) if oldest_first and idle else []

    def _due(self, waiting: deque[tuple[float, Row]]) -> float:
        return waiting[0][0] + self._retry_seconds

    def _take_retries(self, key: BatchKey, limit: int) -> list[Row]:
        waiting = self._retries[key]
        rows = [waiting.popleft()[1] for _ in range(min(limit, len(waiting)))]
        if not waiting:
            del self._retries[key]
        return rows
