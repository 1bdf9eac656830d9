# SPDX-License-Identifier: Apache-2.0
"""The real clock."""

from __future__ import annotations

import threading
import time

__all__ = ["SystemClock"]

#: CLOCK_BOOTTIME goes on while the host sleeps, as the queue's own timers do; elsewhere the monotonic clock has to do.
_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The host's time; implements `stages.ports.Clock`."""

    def now(self) -> float:
        """Seconds since some point in the past; never jumps, counts while the host sleeps."""
        return time.clock_gettime(_CLOCK_ID)

    def time(self) -> float:
        """Seconds since the epoch, for records and logs only."""
        return time.time()

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Waits for the event for at most `timeout` seconds; True when it is set."""
        return event.wait(max(0.0, timeout))
