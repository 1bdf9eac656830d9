# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from worker.lifecycle import Deadline, StageThread, stop_signals
from worker.testing.clock import FakeClock


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_by_its_name_and_time(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    clock = FakeClock()
    with stop_signals(clock) as signalled:
        assert signalled() is None
        os.kill(os.getpid(), number)
        clock.advance(3.0)
        assert signalled() == (number.name, clock.now() - 3.0)
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_the_process_at_once() -> None:
    program = (
        "import os, signal, threading\n"
        "from worker.node.clock import SystemClock\n"
        "from worker.lifecycle import stop_signals\n"
        "with stop_signals(SystemClock()):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Event().wait(30)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=20, check=False)
    assert ended.returncode == 1


def test_off_the_main_thread_nothing_is_installed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def elsewhere() -> None:
        with stop_signals(FakeClock()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_deadline_counts_from_when_it_was_asked_for() -> None:
    clock = FakeClock()
    asked = clock.now()
    clock.advance(3.0)
    deadline = Deadline(clock, 10.0, asked)
    assert (deadline.left(), deadline.left(2.0)) == (7.0, 2.0)
    clock.advance(8.0)
    assert deadline.left() == 0.0


def test_a_thread_that_dies_says_so() -> None:
    died: list[tuple[str, BaseException]] = []

    def loop() -> None:
        raise RuntimeError("lost my way")

    thread = StageThread("downloader-1", loop, lambda name, error: died.append((name, error)))
    thread.start()
    thread.join()
    assert [(name, str(error)) for name, error in died] == [("downloader-1", "lost my way")]
    assert thread.failure is died[0][1]
