# SPDX-License-Identifier: Apache-2.0
"""The rows of suspect windows, kept apart from all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stages.inference.engine.rows import Row
from stages.inference.engine.suspects import Suspects
from stages.inference.protocol import WindowKey

__all__ = ["Quarantine", "window_of"]


def window_of(row: Row) -> WindowKey:
    """The window that a row is, or is a part of."""
    return row.job.key, row.window.index


class Quarantine:
    """Deals out rows of one group of suspects at a time. It has no lock: the scheduler calls it under its own.

    Args:
        groups: The suspects to begin with.
        patience: Seconds that suspects may wait behind all others. Once they are over, the suspects go first until
            none is left: a worker that is never idle must come to an end with them as well.
        now: The time.
    """

    def __init__(self, groups: Iterable[Sequence[WindowKey]], patience: float, now: float) -> None:
        self._suspects = Suspects(groups)
        self._patience = patience
        self._since = now  # when the first of the present suspects came
        self._rows: list[Row] = []

    def __contains__(self, row: Row) -> bool:
        return window_of(row) in self._suspects

    @property
    def waiting(self) -> bool:
        """Whether there is anything to deal."""
        return bool(self._rows)

    @property
    def due(self) -> float:
        """When the suspects have waited long enough."""
        return self._since + self._patience

    def add(self, row: Row) -> None:
        """Queues a suspect window's row."""
        self._rows.append(row)

    def take(self, limit: int) -> list[Row]:
        """The rows that go next, by themselves: of one group and one key, at most `limit`."""
        for group in self._suspects.groups:
            own = [row for row in self._rows if window_of(row) in group]
            if own:
                taken = [row for row in own if row.key == own[0].key][:limit]
                self._rows = [row for row in self._rows if row not in taken]
                return taken
        return []

    def failed(self, rows: Sequence[Row], now: float) -> tuple[WindowKey, ...]:
        """Suspects a batch that failed; gives the window that is guilty now, if one is."""
        if not self._suspects:
            self._since = now
        return self._suspects.failed([[window_of(row) for row in rows]])

    def clear(self, window: WindowKey) -> None:
        """Forgets a window, which is done."""
        self._suspects.cleared(window)

    def drop(self, job: str) -> None:
        """Forgets the job's windows and rows."""
        self._suspects.forget(job)
        self._rows = [row for row in self._rows if row.job.key != job]
