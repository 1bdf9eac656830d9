# SPDX-License-Identifier: Apache-2.0
"""What a worker got done since it was built."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from worker.outcomes import JobOutcome

__all__ = ["Totals", "TotalsSnapshot"]


@dataclass(frozen=True, slots=True)
class TotalsSnapshot:
    """What this worker got done since it was built.

    Attributes:
        jobs: Deliveries that ended, by outcome.
        audio_seconds: Audio of jobs that succeeded.
        windows: Windows decoded, of all jobs.
        batches: Calls of the engine.
        busy_seconds: Time in which the device had a batch.
    """

    jobs: Mapping[JobOutcome, int]
    audio_seconds: float = 0.0
    windows: int = 0
    batches: int = 0
    busy_seconds: float = 0.0


class Totals:
    """Adds up. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _totals between reading and replacing
        self._totals = TotalsSnapshot(jobs={})

    @property
    def totals(self) -> TotalsSnapshot:
        """So far."""
        return self._totals

    def job(self, outcome: JobOutcome, audio_seconds: float) -> None:
        """A delivery of a job ended; its audio counts where it succeeded."""
        with self._lock:
            totals = self._totals
            jobs = {**totals.jobs, outcome: totals.jobs.get(outcome, 0) + 1}
            self._totals = replace(totals, jobs=jobs, audio_seconds=totals.audio_seconds + audio_seconds)

    def window(self) -> None:
        """A window was decoded."""
        with self._lock:
            self._totals = replace(self._totals, windows=self._totals.windows + 1)

    def batch(self, busy_seconds: float) -> None:
        """A batch came back."""
        with self._lock:
            totals = self._totals
            self._totals = replace(totals, batches=totals.batches + 1, busy_seconds=totals.busy_seconds + busy_seconds)
