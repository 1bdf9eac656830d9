# SPDX-License-Identifier: Apache-2.0
"""A simulated device: a batch takes the time that it would take, and the host computes as it would."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import nullcontext

from worker.telemetry.trace import SpanKind, TraceWriter

__all__ = ["SimulatedDevice"]

#: Seconds between two looks at how much was computed so far.
_SLICE_SECONDS = 0.02
#: Digested at a time: so much that the interpreter's lock is let go meanwhile, as a launch of kernels does.
_CHUNK = bytes(64 * 1024)


class SimulatedDevice:
    """Lets a batch take as long as it would on a device. Thread-safe.

    Args:
        exclusive: Whether batches take turns, as kernels do; else those under way do not hinder each other.
        host_share: Cores that the host computes on while a batch is under way: it launches the kernels. A host that
            does not get so much done in time holds the device up.
        trace: Gets a span for the time in which the device computed, without the time in which it was held up.
    """

    def __init__(self, *, exclusive: bool, host_share: float, trace: TraceWriter | None) -> None:
        self._turn = threading.Lock() if exclusive else nullcontext()  # guards no data: whoever has it uses the device
        self._host_share = host_share
        self._trace = trace

    def compute(self, seconds: float, windows: int) -> None:
        """Returns when a batch that costs so many seconds is through."""
        if seconds <= 0:
            return
        with self._turn:
            start = time.monotonic()
            self._hold(start, seconds)
            if self._trace:
                self._trace.add(SpanKind.DEVICE, "compute", start, start + seconds, windows=windows)

    def _hold(self, start: float, seconds: float) -> None:
        pause, computed = threading.Event(), time.thread_time()
        while (passed := time.monotonic() - start) < seconds:
            wanted = min(seconds, passed + _SLICE_SECONDS) * self._host_share
            while time.thread_time() - computed < wanted:
                hashlib.blake2b(_CHUNK)
            pause.wait(min(_SLICE_SECONDS, seconds - passed) * (1.0 - self._host_share))
        while time.thread_time() - computed < seconds * self._host_share:
            hashlib.blake2b(_CHUNK)
