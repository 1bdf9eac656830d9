# SPDX-License-Identifier: Apache-2.0
"""The order among rows that may share a batch: some go ahead, first come, first served; behind them jobs take turns."""

from __future__ import annotations

from collections import OrderedDict, deque

from stages.inference.engine.rows import Row

__all__ = ["Turns"]


class Turns:
    """A queue of rows that all have one key. It has no lock: the scheduler calls it under its own."""

    def __init__(self) -> None:
        self._ahead: deque[Row] = deque()
        self._turns: OrderedDict[str, deque[Row]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ahead) + len(self._turns)

    def add(self, row: Row, *, ahead: bool) -> None:
        """Queues a row: `ahead` of all jobs' turns, behind others that are, or behind the job's other rows."""
        if ahead:
            self._ahead.append(row)
        else:
            self._turns.setdefault(row.job.key, deque()).append(row)

    def take(self, limit: int) -> list[Row]:
        """The next rows, at most `limit`."""
        rows = [self._ahead.popleft() for _ in range(min(limit, len(self._ahead)))]
        while self._turns and len(rows) < limit:
            job, own = self._turns.popitem(last=False)
            rows.append(own.popleft())
            if own:
                self._turns[job] = own
        return rows

    def drop(self, job: str) -> None:
        """Forgets the job's rows."""
        self._ahead = deque(row for row in self._ahead if row.job.key != job)
        self._turns.pop(job, None)
