# SPDX-License-Identifier: Apache-2.0
"""A Whisper model whose calls are timed."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

__all__ = ["TIMED", "TimedWhisper"]

#: Names of the calls that are timed.
TIMED = ("encode", "generate", "align")


class TimedWhisper:
    """Stands in for a `ctranslate2.models.Whisper`, all of which it passes on. Thread-safe.

    What a call takes includes waiting for other batches' kernels.
    """

    def __init__(self, whisper: Any) -> None:
        self._whisper = whisper
        self._lock = threading.Lock()  # guards _seconds
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the model; the calls named in `TIMED` are timed."""
        found = getattr(self._whisper, name)
        return self.timed(name, found) if name in TIMED else found

    def seconds(self) -> dict[str, float]:
        """Seconds of each call in `TIMED` since this was asked the last time."""
        with self._lock:
            spent, self._seconds = self._seconds, defaultdict(float)
        return {name: spent[name] for name in TIMED}

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call that is counted as one of those in `TIMED`, be it the model's or not."""

        def timed(*args: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                with self._lock:
                    self._seconds[name] += time.perf_counter() - begun

        return timed
