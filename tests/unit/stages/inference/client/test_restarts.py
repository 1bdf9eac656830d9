# SPDX-License-Identifier: Apache-2.0
"""When processes that are lost are too many, and what they died of."""

from __future__ import annotations

import signal

import pytest

from stages.inference.client.restarts import GivenUp, RestartPolicy, is_crash, loss_text
from stages.inference.protocol import EngineFailed


def test_the_count_of_losses_begins_anew_with_a_finished_window() -> None:
    losses = RestartPolicy(max_failures=3, max_guilty=2, restart_delay=0.5)
    for _ in range(3):
        losses.failed(None, -9)
        losses.failed(None, -9)
        losses.finished(suspect=True)
    losses.failed(None, -9)
    losses.failed(None, -9)

    with pytest.raises(GivenUp) as end:
        losses.failed(None, -9)

    assert not end.value.event.unfit
    assert "lost 3 times in a row" in end.value.event.message
    assert "ended by SIGKILL" in end.value.event.message


def test_the_last_words_of_the_last_process_are_what_is_told() -> None:
    losses = RestartPolicy(max_failures=1, max_guilty=2, restart_delay=0.5)
    said = EngineFailed("no device", unfit=True)

    with pytest.raises(GivenUp) as end:
        losses.failed(said, 3)

    assert end.value.event == said


def test_a_guilty_job_explains_the_losses_before_it_but_too_many_in_a_row_do_not() -> None:
    losses = RestartPolicy(max_failures=2, max_guilty=3, restart_delay=0.5)
    for _ in range(2):
        losses.crashed(None, -11)
        losses.failed(None, -9)
        losses.found("window 3 defeats the model")
    losses.crashed(None, -11)

    with pytest.raises(GivenUp) as end:
        losses.found("window 3 defeats the model")

    assert end.value.event.message.startswith("3 jobs in a row")
    assert "window 3 defeats the model" in end.value.event.message


def test_crashes_of_ever_new_windows_are_counted_until_one_that_nobody_suspected_is_done() -> None:
    losses = RestartPolicy(max_failures=3, max_guilty=2, restart_delay=0.5)
    losses.crashed(None, -11)
    assert not losses.search_first
    losses.finished(suspect=False)
    losses.crashed(None, -11)
    before = losses.search_first
    losses.crashed(None, -11)
    # A window of the search says nothing of the others, to which the search has to come first.
    losses.finished(suspect=True)
    assert (before, losses.search_first) == (False, True)

    with pytest.raises(GivenUp, match="lost 3 times"):
        losses.crashed(None, -11)


def test_the_first_start_comes_at_once_and_the_pauses_double_up_to_a_limit() -> None:
    losses = RestartPolicy(max_failures=100, max_guilty=1, restart_delay=0.5)
    delays = [losses.delay]
    for _ in range(10):
        losses.failed(None, 1)
        delays.append(losses.delay)

    assert delays == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("exit_code", "crashed", "text"),
    [
        (-signal.SIGSEGV, True, "ended by SIGSEGV"),
        (-signal.SIGABRT, True, "ended by SIGABRT"),
        (-signal.SIGBUS, True, "ended by SIGBUS"),
        (-signal.SIGFPE, True, "ended by SIGFPE"),
        (-signal.SIGILL, True, "ended by SIGILL"),
        (1, True, "ended with exit code 1"),
        (0, True, "ended with exit code 0"),
        (-signal.SIGKILL, False, "ended by SIGKILL"),
        (-signal.SIGTERM, False, "ended by SIGTERM"),
        (-(signal.SIGRTMIN + 1), False, f"ended by signal {signal.SIGRTMIN + 1}"),
        (None, False, "ended with exit code None"),
    ],
)
def test_what_a_process_brings_upon_itself_is_told_from_what_is_done_to_it(
    exit_code: int | None, crashed: bool, text: str
) -> None:
    assert is_crash(exit_code) is crashed
    assert loss_text(exit_code) == text
