# SPDX-License-Identifier: Apache-2.0
"""Windows that are decoded in parts, and the parts' way back to one result."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from stages.inference.whisper.transcribed import Transcribed, better, joined

__all__ = ["Half", "Halves", "Rest", "Whole", "may_split"]

#: How often a window may be halved: from 30 s to parts of about 2 s, in which no language fills the cap.
_MAX_DEPTH = 4
#: The same where speech was left out.
_MAX_DEPTH_OF_HOLES = 3
#: The same where no attempt at the text was any good: noise stays noise, however small the parts.
_MAX_DEPTH_OF_FAILED = 1
#: Shortest part, in seconds, that is halved.
_MIN_SECONDS = 1.0

#: What a window came to, and why it was decoded again, in order.
Whole = tuple[Transcribed, tuple[str, ...]]


class Parent(Protocol):
    """Where a part of a window is handed in."""

    def put(self, part: Transcribed, retries: tuple[str, ...]) -> Whole | None:
        """Hands the part in; gives what the window came to, None while another part is missing."""


def may_split(part: Transcribed, depth: int, seconds: float) -> bool:
    """Whether a part that was halved out of its window `depth` times and has this length should be halved again."""
    complete_depth = _MAX_DEPTH if part.truncated else _MAX_DEPTH_OF_HOLES
    deepest = _MAX_DEPTH_OF_FAILED if part.failed else complete_depth
    return part.incomplete is not None and depth < deepest and seconds >= 2 * _MIN_SECONDS


class Halves:
    """Collects the two halves of a window; whoever brings the second one gets the result.

    Halves may be worked on by different threads at once.

    Args:
        whole: What was transcribed in one go.
        retries: Why the whole was decoded again so far, the split included.
        seconds: Where in the whole the second half begins.
        parent: Where the whole is handed in, if it is a part itself.
    """

    def __init__(self, whole: Transcribed, retries: tuple[str, ...], seconds: float, parent: Parent | None) -> None:
        self._whole = whole
        self._retries = retries
        self._seconds = seconds
        self._parent = parent
        self._lock = threading.Lock()  # guards _halves
        self._halves: list[Whole | None] = [None, None]

    def put(self, place: int, half: Transcribed, retries: tuple[str, ...]) -> Whole | None:
        """Hands the half at place 0 or 1 in; see `Parent.put`."""
        with self._lock:
            self._halves[place] = (half, retries)
            left, right = self._halves
            if left is None or right is None:
                return None
        best = better(self._whole, joined(left[0], right[0], self._seconds))
        return _handed_on(best, (*self._retries, *left[1], *right[1]), self._parent)


@dataclass(frozen=True, slots=True)
class Half:
    """One of two halves: place 0 or 1."""

    halves: Halves
    place: int

    def put(self, part: Transcribed, retries: tuple[str, ...]) -> Whole | None:
        """See `Parent.put`."""
        return self.halves.put(self.place, part, retries)


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of a window behind the last segment that the model has finished.

    Attributes:
        before: What was transcribed before it; stands.
        retries: Why that was decoded again.
        seconds: Where in the window the rest begins.
        parent: Where the window is handed in, if it is a part itself.
    """

    before: Transcribed
    retries: tuple[str, ...]
    seconds: float
    parent: Parent | None

    def put(self, part: Transcribed, retries: tuple[str, ...]) -> Whole | None:
        """See `Parent.put`."""
        return _handed_on(joined(self.before, part, self.seconds), (*self.retries, *retries), self.parent)


def _handed_on(whole: Transcribed, retries: tuple[str, ...], parent: Parent | None) -> Whole | None:
    return (whole, retries) if parent is None else parent.put(whole, retries)
