# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import (
    Cancelled,
    CancelReason,
    NodeFaultError,
    PermanentError,
    SettingsFaultError,
    TransientError,
    Witness,
)
from sqscribe.errors import ErrorCode as Code
from stages.ports import Cancellation
from worker.node.faults import NodeFaults
from worker.testing.clock import FakeClock

LONGEST = 30.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def faults(clock: FakeClock) -> NodeFaults:
    return NodeFaults(clock, first=1.0, longest=LONGEST)


class Step:
    """Work that fails so many times."""

    def __init__(self, failures: float, message: str = "the disk is full") -> None:
        self.tries = 0
        self._failures = failures
        self._message = message

    def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self._failures:
            raise NodeFaultError(self._message)
        return "done"


class Outlasting:
    """`outlast` on a thread of its own."""

    def __init__(self, faults: NodeFaults, step: Callable[[], object], cancellation: Cancellation) -> None:
        self.result: object = None
        self._thread = threading.Thread(target=self._run, args=(faults, step, cancellation), daemon=True)
        self._thread.start()

    def _run(self, faults: NodeFaults, step: Callable[[], object], cancellation: Cancellation) -> None:
        try:
            self.result = faults.outlast("fetch", step, cancellation)
        except Cancelled as cancelled:
            self.result = cancelled.reason

    def join(self) -> object:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.result


def test_what_works_is_done_once_and_nothing_is_wrong(faults: NodeFaults) -> None:
    step = Step(0)
    assert faults.outlast("fetch", step, Cancellation()) == "done"
    assert step.tries == 1
    assert faults.current is None


def test_a_fault_is_outlasted_and_told_while_it_lasts(clock: FakeClock, faults: NodeFaults) -> None:
    step = Step(6)
    with capture_logs() as lines:
        work = Outlasting(faults, step, Cancellation())
        for tries in range(1, 7):
            clock.settle()
            # Then between two tries it is known what is wrong
            assert step.tries == tries
            assert faults.current == "fetch: the disk is full"
            clock.advance(LONGEST)  # no wait is longer
        assert work.join() == "done"
    # And it is forgotten once it is over
    assert faults.current is None
    assert [line["attempt"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {(line["event"], line["step"]) for line in lines} == {("node_fault", "fetch")}


def test_being_called_off_ends_the_wait_at_once(clock: FakeClock, faults: NodeFaults) -> None:
    step, cancellation = Step(float("inf")), Cancellation()
    work = Outlasting(faults, step, cancellation)
    clock.settle()
    cancellation.cancel(CancelReason.SHUTDOWN)
    assert work.join() is CancelReason.SHUTDOWN
    # Without another try, and without a fault that nobody would ever clear
    assert step.tries == 1
    assert faults.current is None


def test_what_is_called_off_before_is_not_tried(faults: NodeFaults) -> None:
    step, cancellation = Step(0), Cancellation()
    cancellation.cancel(CancelReason.LEASE_LOST)
    with pytest.raises(Cancelled):
        faults.outlast("fetch", step, cancellation)
    assert step.tries == 0


@pytest.mark.parametrize(
    "error", [TransientError(Code.SOURCE_UNREACHABLE, "x"), PermanentError(Code.MEDIA_UNREADABLE, "x"), KeyError("x")]
)
def test_any_other_error_is_not_the_nodes(faults: NodeFaults, error: Exception) -> None:
    tries: list[None] = []

    def work() -> None:
        tries.append(None)
        raise error

    with pytest.raises(type(error)) as raised:
        faults.outlast("fetch", work, Cancellation())
    assert raised.value is error
    assert len(tries) == 1
    assert faults.current is None


def test_a_fault_that_becomes_another_error_is_over(clock: FakeClock, faults: NodeFaults) -> None:
    errors: list[Exception] = [PermanentError(Code.OUTPUT_FORBIDDEN, "no"), NodeFaultError("away")]

    def work() -> None:
        raise errors.pop()

    raised: list[Exception] = []

    def outlast() -> None:
        try:
            faults.outlast("publish", work, Cancellation())
        except PermanentError as error:
            raised.append(error)

    thread = threading.Thread(target=outlast, daemon=True)
    thread.start()
    clock.settle()
    clock.advance(LONGEST)
    thread.join(10)
    assert [str(error) for error in raised] == ["output_forbidden: no"]
    assert faults.current is None


def test_of_two_faults_the_one_that_lasts_is_told(clock: FakeClock, faults: NodeFaults) -> None:
    # Given two jobs that meet faults
    lasting, short = Cancellation(), Cancellation()
    first = Outlasting(faults, Step(float("inf"), "the store is away"), lasting)
    clock.settle()
    second = Outlasting(faults, Step(float("inf"), "the disk is full"), short)
    clock.settle(2)
    # When the work of either is called off
    short.cancel(CancelReason.SHUTDOWN)
    second.join()
    assert faults.current == "fetch: the store is away"
    lasting.cancel(CancelReason.SHUTDOWN)
    first.join()
    assert faults.current is None


# -- one job's own fault ---------------------------------------------------------------------------------------------


class Probe:
    """What the worker itself can do now."""

    def __init__(self, *, well: bool) -> None:
        self.well = well
        self.asked: list[Witness] = []

    def __call__(self, witness: Witness) -> bool:
        self.asked.append(witness)
        return self.well


class Failing:
    """Work that always fails, and a thread that outlasts it."""

    def __init__(self, faults: NodeFaults, error: NodeFaultError) -> None:
        self.tries = 0
        self.ended: Exception | None = None
        self.cancellation = Cancellation()
        self._error = error
        self._thread = threading.Thread(target=self._run, args=(faults,), daemon=True)
        self._thread.start()

    def _run(self, faults: NodeFaults) -> None:
        try:
            faults.outlast("publish", self._work, self.cancellation)
        except (TransientError, Cancelled) as error:
            self.ended = error

    def _work(self) -> None:
        self.tries += 1
        raise self._error

    def join(self) -> Exception | None:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.ended


def test_a_fault_that_the_worker_itself_does_not_meet_is_the_jobs_and_holds_up_nobody(clock: FakeClock) -> None:
    # Given a worker that can write, and one job whose object cannot be written
    probe = Probe(well=True)
    faults = NodeFaults(clock, probe=probe)
    failing = Failing(faults, NodeFaultError("500", witness=Witness.WRITE))
    for _ in range(2):
        clock.settle()
        # Then receiving goes on
        assert faults.current is None
        assert not faults.pausing
        clock.advance(LONGEST)
    # And after a few the job goes back, with its reason
    ended = failing.join()
    assert isinstance(ended, TransientError)
    assert ended.code is Code.STORAGE_UNAVAILABLE
    assert "500" in ended.message
    assert failing.tries == 3
    assert set(probe.asked) == {Witness.WRITE}
    assert faults.current is None


def test_an_outage_is_outlasted_however_often_it_is_met(clock: FakeClock) -> None:
    # Given a worker that cannot write either, but for a moment, too short for a job to go back
    probe = Probe(well=False)
    faults = NodeFaults(clock, probe=probe)
    failing = Failing(faults, NodeFaultError("500", witness=Witness.WRITE))
    for number in range(40):
        clock.settle()
        probe.well = number % 5 in {1, 2}
        clock.advance(LONGEST)
    clock.settle()
    assert failing.ended is None
    assert failing.tries == 41
    failing.cancellation.cancel(CancelReason.SHUTDOWN)
    assert isinstance(failing.join(), Cancelled)


def test_other_jobs_at_the_same_step_are_a_witness_too(clock: FakeClock, faults: NodeFaults) -> None:
    failing = Failing(faults, NodeFaultError("broken"))
    clock.settle()
    for _ in range(6):
        # Given others that get through another step: nothing follows from it
        faults.outlast("fetch", Step(0), Cancellation())
        clock.advance(LONGEST)
        clock.settle()
        assert faults.current == "publish: broken"
    for left in (2, 1, 0):
        # When they get through the same one
        assert failing.ended is None
        faults.outlast("publish", Step(0), Cancellation())
        clock.advance(LONGEST)
        clock.settle(min(left, 1))
    # Then the job goes back
    assert isinstance(failing.join(), TransientError)


def test_a_lease_in_doubt_is_never_the_jobs_fault(clock: FakeClock) -> None:
    faults = NodeFaults(clock, probe=Probe(well=True))
    failing = Failing(faults, NodeFaultError("in doubt", witness=Witness.NOBODY))
    for _ in range(8):
        clock.settle()
        faults.outlast("publish", Step(0), Cancellation())
        clock.advance(LONGEST)
    clock.settle()
    assert failing.ended is None
    failing.cancellation.cancel(CancelReason.LEASE_LOST)
    failing.join()


def test_what_a_person_has_to_mend_is_said_first_and_as_an_error(clock: FakeClock, faults: NodeFaults) -> None:
    with capture_logs() as lines:
        first = Failing(faults, NodeFaultError("the disk is full"))
        clock.settle()
        second = Failing(faults, SettingsFaultError("SQSCRIBE_OUTPUT: cannot write s3://out: NoSuchBucket"))
        clock.settle(2)
    assert faults.current == "SQSCRIBE_OUTPUT: cannot write s3://out: NoSuchBucket"
    assert [line["log_level"] for line in lines] == ["warning", "error"]
    for failing in (first, second):
        failing.cancellation.cancel(CancelReason.SHUTDOWN)
        failing.join()


def test_what_repeats_by_itself_can_say_what_is_wrong(faults: NodeFaults) -> None:
    faults.note("deleting messages", "AccessDenied")
    assert faults.current == "deleting messages: AccessDenied"
    faults.note("renewing leases", None)
    assert faults.current == "deleting messages: AccessDenied"
    faults.note("deleting messages", None)
    assert faults.current is None


def test_a_single_fault_without_a_witness_holds_up_receiving_for_a_while_only(
    clock: FakeClock, faults: NodeFaults
) -> None:
    # Given one job's step that fails, and nobody else who gets as far
    first = Failing(faults, NodeFaultError("broken"))
    clock.settle()
    pausing = [faults.pausing]
    clock.advance(61)
    clock.settle()
    # Then after a minute others are let in, and what is wrong is told all the while
    pausing.append(faults.pausing)
    assert faults.current == "publish: broken"
    # When they meet it too
    second = Failing(faults, NodeFaultError("broken"))
    clock.settle(2)
    # Then it is an outage
    pausing.append(faults.pausing)
    clock.advance(61)
    clock.settle(2)
    pausing.append(faults.pausing)
    assert pausing == [True, False, True, True]
    for failing in (first, second):
        failing.cancellation.cancel(CancelReason.SHUTDOWN)
        failing.join()


@pytest.mark.parametrize("error", [SettingsFaultError("gone"), NodeFaultError("503", witness=Witness.READ)])
def test_a_fault_that_is_certain_holds_it_up_for_as_long_as_it_lasts(clock: FakeClock, error: NodeFaultError) -> None:
    faults = NodeFaults(clock, probe=Probe(well=False))
    failing = Failing(faults, error)
    for _ in range(10):
        clock.settle()
        assert faults.pausing
        clock.advance(61)
    failing.cancellation.cancel(CancelReason.SHUTDOWN)
    failing.join()


def test_what_was_tried_often_before_it_was_raised_is_not_tried_as_often_again(clock: FakeClock) -> None:
    faults = NodeFaults(clock, probe=Probe(well=True))
    failing = Failing(faults, NodeFaultError("broke off five times", witness=Witness.READ, tries=5))
    assert isinstance(failing.join(), TransientError)
    assert failing.tries == 1
