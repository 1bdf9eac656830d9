# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import pytest

from sqscribe.errors import Cancelled, CancelReason
from stages.ports import Cancellation
from worker.jobs.buffer import AudioBuffer


def admitted(buffer: AudioBuffer, seconds: float, cancellation: Cancellation | None = None) -> threading.Event:
    """Admits on a thread of its own; the event is set once it is through."""
    through = threading.Event()

    def admit() -> None:
        buffer.admit(seconds, cancellation or Cancellation(), poll=0.01)
        through.set()

    threading.Thread(target=admit, daemon=True).start()
    return through


def test_an_empty_buffer_takes_one_job_of_any_length() -> None:
    buffer = AudioBuffer(100)
    buffer.admit(10_000, Cancellation())
    assert buffer.seconds == 10_000
    assert not buffer.open


def test_a_buffer_is_empty_again_though_windows_have_odd_lengths() -> None:
    # Given two jobs whose windows come back one by one, in turns
    buffer = AudioBuffer(100)
    windows = [samples / 16_000 for samples in range(80_001, 480_001, 53_017)]
    for _ in range(2):
        buffer.admit(sum(windows[:4]), Cancellation())
    for seconds in windows[:4]:
        buffer.give_back(seconds)
        buffer.give_back(seconds)
    # Then nothing is left of them, and a job longer than the buffer is taken
    assert buffer.seconds == 0
    assert admitted(buffer, 10_000).wait(2)


def test_a_job_that_does_not_fit_waits_until_it_does() -> None:
    # Given a buffer with 80 of its 100 s in use
    buffer = AudioBuffer(100)
    buffer.admit(80, Cancellation())
    # When a job of 30 s asks
    through = admitted(buffer, 30)
    # Then it waits, and nothing is received meanwhile
    assert not through.wait(0.05)
    assert not buffer.open
    # And it goes on once 10 s were given back
    buffer.give_back(10)
    assert through.wait(2)
    assert buffer.seconds == 100


def test_jobs_are_admitted_in_the_order_in_which_they_ask() -> None:
    # Given a full buffer, a long job that waits, and a short one behind it that would fit
    buffer = AudioBuffer(100)
    buffer.admit(90, Cancellation())
    long = admitted(buffer, 60)
    assert not long.wait(0.05)
    short = admitted(buffer, 5)
    # Then the short one does not overtake
    assert not short.wait(0.05)
    buffer.give_back(90)
    assert long.wait(2)
    assert short.wait(2)


def test_intake_closes_when_full_and_opens_again_only_at_four_fifths() -> None:
    buffer = AudioBuffer(100)
    buffer.admit(100, Cancellation())
    assert not buffer.open
    buffer.give_back(15)
    assert not buffer.open
    buffer.give_back(5)
    assert buffer.open


def test_a_cancelled_job_stops_waiting_and_lets_the_next_one_through() -> None:
    buffer = AudioBuffer(100)
    buffer.admit(100, Cancellation())
    cancellation = Cancellation()
    cancellation.cancel(CancelReason.LEASE_LOST)
    with pytest.raises(Cancelled):
        buffer.admit(50, cancellation, poll=0.01)
    buffer.give_back(100)
    buffer.admit(50, Cancellation())
    assert buffer.seconds == 50
