# SPDX-License-Identifier: Apache-2.0
"""A judge that sends a fixed share of good texts back: random weights never fall back, and speech does."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sqscribe.tuning import TEMPERATURES
from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.fallback import Decision, Judge, Retry, Take, decide

__all__ = ["REASON", "Relapse"]

#: The reason that `WindowResult.retries` shows.
REASON = "forced"
#: One of every job's that names none.
_TEMPERATURE = TEMPERATURES[1]


class Relapse:
    """Asks for a second attempt at one window in so many, and leaves the rest to another judge. Thread-safe.

    Args:
        every: 10 means one window in ten.
        judge: Decides about the others.
    """

    def __init__(self, every: int, judge: Judge = decide) -> None:
        self._every = every
        self._judge = judge
        self._lock = threading.Lock()  # guards _seen
        self._seen = 0

    def __call__(
        self,
        attempts: Sequence[Attempt],
        speech_seconds: float,
        prompt: str | None,
        unprompted: str | None,
        temperatures: Sequence[float] = TEMPERATURES,
    ) -> Decision:
        """See `stages.inference.whisper.fallback.decide`."""
        decision = self._judge(attempts, speech_seconds, prompt, unprompted, temperatures)
        if len(attempts) == 1 and isinstance(decision, Take) and self._due():
            return Retry(_TEMPERATURE, REASON)
        return decision

    def _due(self) -> bool:
        with self._lock:
            self._seen += 1
            return self._seen % self._every == 0
