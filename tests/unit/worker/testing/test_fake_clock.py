# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time

import pytest

from worker.node.clock import SystemClock
from worker.testing.clock import FakeClock, PassingClock


def waiting(clock: FakeClock, event: threading.Event, timeout: float) -> tuple[threading.Thread, list[bool]]:
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(clock.wait(event, timeout)), daemon=True)
    thread.start()
    clock.settle()
    return thread, results


def test_a_wait_ends_when_its_time_has_passed_and_not_before() -> None:
    clock = FakeClock()
    thread, results = waiting(clock, threading.Event(), 10)
    clock.advance(9.9)
    clock.settle()
    assert not results
    clock.advance(0.1)
    thread.join(5)
    assert results == [False]


def test_a_wait_ends_when_its_event_is_set() -> None:
    clock, event = FakeClock(), threading.Event()
    thread, results = waiting(clock, event, 10)
    event.set()
    thread.join(5)
    assert results == [True]


def test_a_wait_of_nothing_returns_at_once() -> None:
    clock, event = FakeClock(), threading.Event()
    assert not clock.wait(event, 0)
    event.set()
    assert clock.wait(event, -1)
    assert clock.wait(event, 100)


def test_now_and_time_keep_step() -> None:
    clock = FakeClock(start=5, epoch=1000)
    clock.advance(2)
    assert (clock.now(), clock.time()) == (7, 1002)


def test_settle_says_when_nobody_waits() -> None:
    with pytest.raises(TimeoutError, match="0 of 1"):
        FakeClock().settle(timeout=0.01)


def test_run_stops_at_every_deadline() -> None:
    clock, stop = FakeClock(start=0), threading.Event()
    woken: list[float] = []

    def loop() -> None:
        while not clock.wait(stop, 7):
            woken.append(clock.now())

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    clock.run(30)
    assert woken == [7, 14, 21, 28]
    assert clock.now() == 30
    stop.set()
    thread.join(5)


def test_a_wait_on_the_only_thread_lets_its_time_pass() -> None:
    clock, event = PassingClock(start=0), threading.Event()
    assert not clock.wait(event, 7)
    assert clock.now() == 7
    event.set()
    assert clock.wait(event, 7)
    assert clock.now() == 7


def test_on_the_only_thread_even_the_rest_of_a_rounding_error_passes() -> None:
    clock = PassingClock(start=1000)
    assert not clock.wait(threading.Event(), 1e-20)
    assert clock.now() > 1000
    after = clock.now()
    assert not clock.wait(threading.Event(), 0)
    assert clock.now() == after


def test_others_have_their_turn_while_the_only_thread_waits() -> None:
    # Given somebody who looks every three seconds and sets the event the third time
    clock, event = PassingClock(start=0), threading.Event()
    looks: list[float] = []

    def look() -> float:
        looks.append(clock.now())
        if len(looks) == 3:
            event.set()
        return 3

    clock.meanwhile = look
    # Then a shorter wait ends without the event, and a longer one as soon as it is set
    assert not clock.wait(event, 2)
    assert clock.wait(event, 100)
    assert looks == [0, 2, 5]
    assert clock.now() == 5


def test_the_system_clock_goes_on_and_waits() -> None:
    clock, event = SystemClock(), threading.Event()
    before = clock.now()
    assert not clock.wait(event, 0.01)
    assert clock.now() - before >= 0.009
    assert not clock.wait(event, -5)
    event.set()
    assert clock.wait(event, 60)
    assert clock.time() > 1.7e9


def test_the_system_clock_counts_while_the_host_sleeps_and_never_jumps() -> None:
    # The queue's own timers go on while a host sleeps; the wall clock may be set
    before, now, after = (
        time.clock_gettime(time.CLOCK_BOOTTIME),
        SystemClock().now(),
        time.clock_gettime(time.CLOCK_BOOTTIME),
    )
    assert before <= now <= after
