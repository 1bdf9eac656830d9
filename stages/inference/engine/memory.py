# SPDX-License-Identifier: Apache-2.0
"""The C library's memory in an inference process: kept, not handed back and asked for again with every batch.

A batch's buffers on a CPU are tens of megabytes each, and of another size each time. By default glibc maps each of them
anew and gives it back after use, so that the kernel fills pages with zeros all the time: a third of the engine's time
with a small model, and memory that goes up and down. CheckpointState, it stands at its highest (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_memory", "share_one_arena"]

# https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = -1
_TOP_PAD_BYTES = 32 << 20


def share_one_arena() -> bool:
    """Lets all threads take memory from one place; call it before there is a second thread.

    A thread's own arena gives its pages back whatever `keep_memory` says.

    Returns:
        Whether it was done: False where the C library is another one.
    """
    return _set(_M_ARENA_MAX, 1)


def keep_memory() -> bool:
    """Lets glibc keep what it gets from the kernel from now on.

    Call it once the model is loaded: what loading takes besides the model is to be given back.

    Returns:
        Whether it was done: False where the C library is another one.
    """
    return _set(_M_MMAP_MAX, 0) and _set(_M_TRIM_THRESHOLD, _NEVER) and _set(_M_TOP_PAD, _TOP_PAD_BYTES)


def _set(name: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(name, value))
    except AttributeError:  # musl has none
        return False
