# SPDX-License-Identifier: Apache-2.0
"""The buffer between segmentation and the engine: seconds of prepared audio that wait or are being decoded."""

from __future__ import annotations

import threading
from collections import deque

from stages.ports import Cancellation

__all__ = ["AudioBuffer"]

#: Once full, nothing is received until the buffer has fallen to this share of its size. Without the gap, the worker
#: would receive one job for each that leaves and decode it with the device idle for want of choice.
REOPEN_AT = 0.8
#: Less than so many seconds is nothing: what rounding leaves of jobs that were given back window by window. Without
#: this, a buffer that is empty would hardly ever count as empty, and a job longer than its limit would wait for ever.
NOTHING_SECONDS = 0.001


class AudioBuffer:
    """Counts what really costs: seconds of audio, not jobs.

    Jobs are admitted in the order in which they ask. An empty buffer takes one job of any length.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._changed = threading.Condition()  # guards everything below
        self._seconds = 0.0
        self._waiting: deque[object] = deque()
        self._full = False

    @property
    def seconds(self) -> float:
        """Audio admitted and not yet given back."""
        return self._seconds

    @property
    def open(self) -> bool:
        """Whether there is room for more jobs to be received (with hysteresis)."""
        with self._changed:
            if self._waiting or self._seconds >= self.limit:
                self._full = True
            elif self._seconds <= self.limit * REOPEN_AT:
                self._full = False
            return not self._full

    def admit(self, seconds: float, cancellation: Cancellation, poll: float = 0.5) -> None:
        """Waits until the audio fits, then counts it.

        Args:
            seconds: Audio of one job.
            cancellation: Ends the wait.
            poll: How often the cancellation is looked at.

        Raises:
            Cancelled: The job was called off meanwhile.
        """
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or not self._fits(seconds):
                    self._changed.wait(poll)
                    cancellation.check()
                self._seconds += seconds
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give_back(self, seconds: float) -> None:
        """Uncounts audio that is decoded or dropped."""
        with self._changed:
            left = self._seconds - seconds
            self._seconds = left if left >= NOTHING_SECONDS else 0.0
            self._changed.notify_all()

    def _fits(self, seconds: float) -> bool:
        return self._seconds <= 0.0 or self._seconds + seconds <= self.limit
