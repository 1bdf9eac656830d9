# SPDX-License-Identifier: Apache-2.0
"""A judge under whom a fixed share of good texts does not pass, for the cost of a fallback that random texts lack."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.fallback import Decision, Judge, Retry, Take, decide

__all__ = ["REASON", "Relapse"]

#: As in `WindowResult.retries`.
REASON = "forced"
_TEMPERATURE = 0.2


class Relapse:
    """Sends every so-manieth first attempt into the next round, and otherwise judges as ever. Any thread may ask.

    Args:
        every: 10: one in ten.
        judge: Has the say over all others.
    """

    def __init__(self, every: int, judge: Judge = decide) -> None:
        self._every = every
        self._judge = judge
        self._lock = threading.Lock()  # guards _seen
        self._seen = 0

    def __call__(
        self, attempts: Sequence[Attempt], speech_seconds: float, prompt: str | None, unprompted: str | None
    ) -> Decision:
        """See `stages.inference.whisper.fallback.decide`."""
        decision = self._judge(attempts, speech_seconds, prompt, unprompted)
        if len(attempts) == 1 and isinstance(decision, Take) and self._due():
            return Retry(_TEMPERATURE, REASON)
        return decision

    def _due(self) -> bool:
        with self._lock:
            self._seen += 1
            return self._seen % self._every == 0
