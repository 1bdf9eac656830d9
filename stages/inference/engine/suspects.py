# SPDX-License-Identifier: Apache-2.0
"""Windows that the engine may have failed on, and the search for those that it does fail on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.inference.protocol import WindowKey
from stages.values import SAMPLE_RATE, Window

__all__ = ["LONE_FAILURES", "Suspects", "verdict"]

#: A window is guilty once it has failed by itself so many times.
LONE_FAILURES = 2


class Suspects:
    """Groups of windows each of which is to be decoded by itself, apart from all others. It has no lock.

    A group that fails is halved, so that one guilty window among `n` is found after `ceil(log2(n)) + 2` failures at
    most (3 for a window that was by itself from the first): the first one, one for each halving, and the last but one
    again. What gets through is free; a group whose windows fail in company alone dissolves.

    Args:
        groups: Those to begin with.
    """

    def __init__(self, groups: Iterable[Sequence[WindowKey]] = ()) -> None:
        self._groups = [_Group(list(group)) for group in groups]
        self._lone: dict[WindowKey, int] = {}  # how often a window has failed by itself

    @property
    def groups(self) -> tuple[tuple[WindowKey, ...], ...]:
        """In the order in which they should be tried."""
        return tuple(tuple(group.windows) for group in self._groups)

    def __contains__(self, window: object) -> bool:
        return any(window in group.windows for group in self._groups)

    def __len__(self) -> int:
        return sum(len(group.windows) for group in self._groups)

    def failed(self, batches: Iterable[Sequence[WindowKey]]) -> tuple[WindowKey, ...]:
        """Notes a failure, and suspects who was there.

        Args:
            batches: The windows of each batch that was under way; one may come several times, as parts of it do.

        Returns:
            The window that is guilty now, if one is; it is no suspect any more.
        """
        seen: set[WindowKey] = set()
        parts = []
        for batch in batches:
            part = [window for window in dict.fromkeys(batch) if window not in seen]
            seen.update(part)
            parts.append(part)
        again = any(window in self for window in seen)
        if again and len(seen) == 1:
            # A first failure does not count, even of one window by itself: the engine had done other work before.
            (window,) = seen
            self._lone[window] = self._lone.get(window, 0) + 1
            if self._lone[window] >= LONE_FAILURES:
                self.cleared(window)
                return (window,)
        self._remove(seen)
        halves = [half for part in parts for half in (part[: len(part) // 2], part[len(part) // 2 :]) if half]
        # The guilty one is in these halves, so the others go first, which sets them free. But when a second group
        # fails, there are several guilty ones, most likely of one job: then the first is to be found before all else,
        # because the rest of its job goes with it.
        several = again and any(group.failed for group in self._groups)
        place = 0 if several else len(self._groups)
        self._groups[place:place] = [_Group(half, failed=again) for half in halves]
        return ()

    def cleared(self, window: WindowKey) -> None:
        """Forgets a window; that of one that is no suspect is no error."""
        self._remove({window})
        self._lone.pop(window, None)

    def forget(self, job: str) -> None:
        """Forgets all windows of a job."""
        for window in [window for group in self._groups for window in group.windows if window[0] == job]:
            self.cleared(window)

    def _remove(self, windows: set[WindowKey]) -> None:
        for group in self._groups:
            group.windows = [window for window in group.windows if window not in windows]
        self._groups = [group for group in self._groups if group.windows]


@dataclass(slots=True, eq=False)
class _Group:
    """Windows that are tried together.

    Attributes:
        failed: Whether they are what is left of a group that has failed.
    """

    windows: list[WindowKey]
    failed: bool = False


def verdict(window: Window, why: str) -> str:
    """What the job of a guilty window is told."""
    place = window.pieces[0].file_start / SAMPLE_RATE
    return (
        f"window {window.index}, {place:.1f} s into the audio, defeats the model: decoded by itself, "
        f"it failed {LONE_FAILURES} times ({why})"
    )
