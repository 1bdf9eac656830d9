# SPDX-License-Identifier: Apache-2.0
"""No program is left behind by a process that started it, whenever a signal ends that."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

import psutil

#: Starts a program that waits, and is told to end by itself in the middle of that.
PROGRAM = """
import os, signal, subprocess, sys
from worker.embedded import starting

def ended(number, frame):
    raise SystemExit(128 + number)

signal.signal(signal.SIGTERM, ended)
real = subprocess.Popen

class Interrupted(real):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        print(self.pid, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)  # the process is there, and nobody has it yet

subprocess.Popen = Interrupted
starting.start_program([sys.executable, "-c", "import time; time.sleep(60)"])
print("not reached", flush=True)
"""


def test_a_signal_in_the_middle_of_a_start_leaves_no_program_behind() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 128 + signal.SIGTERM, ran.stderr
    (pid,) = ran.stdout.split()
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(pid)).wait(10)
