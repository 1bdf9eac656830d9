# SPDX-License-Identifier: Apache-2.0
"""The C library's memory in an inference process: kept, not handed back and asked for again with every batch."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_memory"]

# https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = -1
_TOP_PAD_BYTES = 32 << 20


def keep_memory() -> bool:
    """Lets glibc keep what it once got from the kernel; call it before there is a second thread.

    A batch's buffers are tens of megabytes each, and of another size each time. By default glibc maps each of them anew
    and gives it back after use, so that the kernel fills pages with zeros all the time: a third of the engine's time
    with a small model on a CPU, and memory that goes up and down. Kept, it stands at its highest
    (docs/performance.md). A thread that is there already may have memory of its own, which is given back as ever.

    Returns:
        Whether it was done: False where the C library is another one.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    wishes = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD_BYTES), (_M_ARENA_MAX, 1))
    return all(done == 1 for done in [mallopt(name, value) for name, value in wishes])
