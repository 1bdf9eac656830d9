# SPDX-License-Identifier: Apache-2.0
"""Waiting for what no event tells of: it shows in a fake, or happens in another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["PATIENCE", "eventually"]

#: Seconds that anything may take on a busy machine; only a failing test waits for so long.
PATIENCE = 120.0
#: Seconds between two looks.
PAUSE = 0.02


def eventually(condition: Callable[[], object], seconds: float = PATIENCE, *, pause: float = PAUSE) -> None:
    """Waits until a condition holds.

    Args:
        condition: Looked at again and again; whatever it raises ends the wait.
        seconds: Longest wait.
        pause: Seconds between two looks.

    Raises:
        TimeoutError: It did not come to hold in time.
    """
    end, never = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() >= end:
            raise TimeoutError(f"what was waited for did not come about in {seconds:g} s")
        never.wait(pause)
