# SPDX-License-Identifier: Apache-2.0
"""The meter: CPU time of a process, of children that have ended, and of those that still run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sqscribe_bench.lab.meter import Meter

psutil = pytest.importorskip("psutil")

#: Burns CPU in a child that ends, in one that stays, and by itself; takes 50 MB, and tells when.
PROGRAM = """
import subprocess, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
if len(sys.argv) > 1:
    burn(float(sys.argv[1]))
    print("burnt", flush=True)
    sys.stdin.readline() if sys.argv[2] == "stay" else None
else:
    print("here", flush=True)
    sys.stdin.readline()
    memory = bytearray(50_000_000)
    subprocess.run([sys.executable, "-c", program, "0.4", "end"], stdout=subprocess.DEVNULL)
    stays = subprocess.Popen([sys.executable, "-c", program, "0.6", "stay"], stdin=-1, stdout=-1)
    stays.stdout.readline()
    burn(0.2)
    print("done", flush=True)
    sys.stdin.readline()
    stays.communicate(b"end")
"""


def test_time_and_memory_are_those_of_the_whole_family() -> None:
    source = f"program = {PROGRAM!r}\nexec(program)"
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        # Given a family at work
        meter = Meter([process.pid], look_seconds=0.02)
        with meter.running():
            process.stdin.write("go\n")
            process.stdin.flush()
            process.stdout.readline()
        process.stdin.write("end\n")
        process.stdin.close()

    # Then each has its share, start of an interpreter included
    usage = meter.usage
    assert 0.2 <= usage.main_cpu_seconds < 0.5
    assert 0.4 <= usage.ended_cpu_seconds < 0.9
    assert 0.6 <= usage.living_cpu_seconds < 1.1
    assert usage.cpu_seconds == pytest.approx(usage.outside_cpu_seconds + usage.living_cpu_seconds)
    assert 50e6 < usage.peak_main_memory < usage.peak_memory < 500e6


def test_there_is_no_usage_before_the_end() -> None:
    with pytest.raises(RuntimeError):
        _ = Meter([psutil.Process().pid]).usage
