# SPDX-License-Identifier: Apache-2.0
"""Where each piece of sound lies on the file's clock, as a player would show it."""

from __future__ import annotations

from stages.reader.wire import RATE

__all__ = ["FileClock"]

#: A stamp so near to where the sound has come to is no jump: many containers round to milliseconds or to a frame.
_TOLERANCE = 0.1
#: A beginning is not rounded: it is late by what a decoder swallows at first, or the picture begins before it.
_AT_ONCE = 0.002
#: Holes up to this are kept whatever else the file says.
_ORDINARY_HOLE = 60.0
#: Longest hole that is kept in a file that does not say how long it is.
_UNDECLARED_HOLE = 3600.0
#: By how much a stamp may lie behind the declared end: part of it, and seconds.
_SLACK = (0.05, 60.0)
#: Bytes that a file has for each second, at least; a stamp that would need fewer is damage.
_BYTES_A_SECOND = 1.0


class FileClock:
    """Lays sound end to end, and silence where the file's own stamps leave a hole.

    A step back, as where two recordings were joined, drops nothing: what follows is laid behind what was, and later
    stamps are taken relative to it. A jump forward is a hole only if the file bears it out; else it is a damaged
    stamp, which is treated alike.

    Args:
        declared: Seconds that the file says it lasts; None where it does not.
        size: Its bytes.
    """

    def __init__(self, declared: float | None, size: int) -> None:
        self._declared = declared
        self._size = size
        self._shift = 0.0
        self.position = 0
        self.gaps = 0
        self.gap_seconds = 0.0
        self.leaps = 0

    @property
    def seconds(self) -> float:
        """How far the sound has come."""
        return self.position / RATE

    def silence_before(self, stamp: float | None) -> int:
        """Samples of silence that belong before a piece.

        Args:
            stamp: Seconds that the file gives it; None where it gives none.
        """
        if stamp is None:
            return 0
        ahead = stamp + self._shift - self.seconds
        if -_TOLERANCE < ahead < (_TOLERANCE if self.position else _AT_ONCE):
            return 0
        if ahead < 0 or not self._borne_out(ahead):
            self.leaps += ahead > 0
            self._shift -= ahead
            return 0
        if self.position:  # a late beginning is no gap
            self.gaps += 1
            self.gap_seconds += ahead
        return round(ahead * RATE)

    def advance(self, samples: int) -> None:
        """Says that sound or silence was laid down."""
        self.position += samples

    def _borne_out(self, hole: float) -> bool:
        end = self.seconds + hole
        if hole <= _ORDINARY_HOLE:
            return True
        if end * _BYTES_A_SECOND > self._size:
            return False
        if self._declared is None:
            return hole <= _UNDECLARED_HOLE
        share, seconds = _SLACK
        return end <= self._declared * (1 + share) + seconds
