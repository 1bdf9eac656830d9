# SPDX-License-Identifier: Apache-2.0
"""What the inference process asks of the C library."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Fills three buffers of 48 MB again and again, in a thread; prints how many pages the kernel brought for all but the
#: first time.
PROGRAM = """
import ctypes, resource, sys, threading
from stages.inference.engine.memory import keep_memory, share_one_arena

if sys.argv[1] == "kept":
    assert share_one_arena()
    assert keep_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def fill():
    buffers = [libc.malloc(48 << 20) for _ in range(3)]
    for buffer in buffers:
        ctypes.memset(buffer, 1, 48 << 20)
    for buffer in buffers:
        libc.free(buffer)

def work():
    fill()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        fill()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def pages(how: str) -> int:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60, check=True)
    return int(ended.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_a_buffer_that_comes_again_costs_the_kernel_nothing() -> None:
    # Given a process as it is by default, which maps every large buffer anew (4 KB pages, or 2 MB where it may)
    assert pages("default") > 3 * 3 * 20

    # Then one that keeps its memory is brought next to nothing
    assert pages("kept") < 20
