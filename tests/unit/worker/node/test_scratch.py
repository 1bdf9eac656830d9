# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, NodeFaultError, PermanentError, SettingsError
from stages.disk import disk_faults
from stages.ports import Cancellation
from worker.node.clock import SystemClock
from worker.node.scratch import JobScratch, ScratchSpace


@pytest.fixture
def space(tmp_path: Path) -> Iterator[ScratchSpace]:
    space = ScratchSpace(tmp_path, 100, SystemClock())
    yield space
    space.close()


class Asking(threading.Thread):
    """A job that asks for room, on a thread of its own."""

    def __init__(self, scratch: JobScratch, total: int, cancellation: Cancellation | None = None) -> None:
        super().__init__()
        self.scratch = scratch
        self.total = total
        self.cancellation = cancellation or Cancellation()
        self.granted = threading.Event()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.scratch.reserve(self.total, self.cancellation)
            self.granted.set()
        except Cancelled as error:
            self.error = error


def waiting(space: ScratchSpace, count: int) -> None:
    """Returns once so many jobs wait for room."""
    for _ in range(500):
        if len(space._budget._waiting) == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


def test_a_job_has_a_folder_and_bytes_while_it_lasts(space: ScratchSpace) -> None:
    with space.job("talk/../../etc") as scratch:
        assert scratch.path.parent == space.root
        (scratch.path / "deep").mkdir()
        (scratch.path / "deep" / "file").write_bytes(b"x")
        scratch.reserve(60, Cancellation())
        assert (space.used, space.free, space.has_room(40), space.has_room(41)) == (60, 40, True, False)
        scratch.reserve(20, Cancellation())
        assert space.free == 80
    assert not scratch.path.exists()
    assert (space.used, space.free) == (0, 100)


def test_all_is_given_back_whatever_happens(space: ScratchSpace) -> None:
    def fail() -> None:
        with space.job("talk") as scratch:
            scratch.reserve(60, Cancellation())
            (scratch.path / "file").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert space.used == 0
    assert list(space.root.iterdir()) == []


def test_attempts_at_the_same_job_do_not_meet(space: ScratchSpace) -> None:
    with space.job("talk") as first, space.job("talk") as second:
        assert first.path != second.path


def test_what_can_never_fit_is_refused(space: ScratchSpace) -> None:
    with space.job("talk") as scratch, pytest.raises(PermanentError) as caught:
        scratch.reserve(101, Cancellation())
    assert caught.value.code == ErrorCode.SOURCE_TOO_LARGE


def test_a_job_waits_until_another_leaves(space: ScratchSpace) -> None:
    with space.job("second") as second:
        with space.job("first") as first:
            first.reserve(70, Cancellation())
            asking = Asking(second, 50)
            waiting(space, 1)
            # While somebody waits there is no room for newcomers.
            assert not space.has_room(1)
            assert not asking.granted.is_set()
        assert asking.granted.wait(5)
        asking.join()
        assert space.used == 50


def test_newcomers_are_served_in_their_order(space: ScratchSpace) -> None:
    with space.job("first") as first, space.job("big") as big, space.job("small") as small:
        first.reserve(70, Cancellation())
        asking_big = Asking(big, 90)
        waiting(space, 1)
        asking_small = Asking(small, 10)
        waiting(space, 2)
        # Then the small one, which would fit, does not overtake
        first.reserve(30, Cancellation())
        assert not asking_small.granted.wait(0.3)
        first.reserve(0, Cancellation())
        assert asking_big.granted.wait(5)
        assert asking_small.granted.wait(5)
        asking_big.join()
        asking_small.join()


def test_a_job_that_needs_more_goes_before_newcomers(space: ScratchSpace) -> None:
    with space.job("first") as first, space.job("second") as second, space.job("new") as new:
        first.reserve(50, Cancellation())
        second.reserve(30, Cancellation())
        asking_new = Asking(new, 60)
        waiting(space, 1)
        second.reserve(50, Cancellation())
        assert not asking_new.granted.is_set()
        first.reserve(0, Cancellation())
        second.reserve(0, Cancellation())
        assert asking_new.granted.wait(5)
        asking_new.join()


def test_jobs_that_hold_bytes_and_need_more_do_not_wait_for_each_other_for_ever(space: ScratchSpace) -> None:
    with space.job("first") as first, space.job("second") as second:
        first.reserve(50, Cancellation())
        second.reserve(50, Cancellation())
        asking_first = Asking(first, 60)
        waiting(space, 1)
        assert not asking_first.granted.is_set()
        # When nobody is left who could give room back
        asking_second = Asking(second, 60)
        # Then the first goes on, alone
        assert asking_first.granted.wait(5)
        assert not asking_second.granted.wait(0.3)
        assert space.free == 0
        first.reserve(0, Cancellation())
        assert asking_second.granted.wait(5)
        asking_first.join()
        asking_second.join()


def test_a_cancelled_job_stops_waiting_and_stands_in_nobodys_way(space: ScratchSpace) -> None:
    with space.job("first") as first, space.job("second") as second, space.job("third") as third:
        first.reserve(80, Cancellation())
        cancellation = Cancellation()
        asking = Asking(second, 50, cancellation)
        waiting(space, 1)
        cancellation.cancel(CancelReason.LEASE_LOST)
        asking.join(5)
        assert isinstance(asking.error, Cancelled)
        third.reserve(20, Cancellation())


def test_the_default_budget_is_four_fifths_of_what_is_free(tmp_path: Path) -> None:
    space = ScratchSpace(tmp_path, None, SystemClock())
    facts = os.statvfs(tmp_path)
    assert space.budget == pytest.approx(facts.f_bavail * facts.f_frsize * 0.8, rel=0.1)
    space.close()


def test_a_folder_that_cannot_be_used_is_a_matter_of_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError):
        ScratchSpace(tmp_path / "file" / "scratch", 100, SystemClock())


def test_a_guessable_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    space = ScratchSpace(None, 100, SystemClock())
    base = space.root.parent
    assert base.stat().st_mode & 0o777 == 0o700
    space.close()
    base.chmod(0o777)
    with pytest.raises(SettingsError):
        ScratchSpace(None, 100, SystemClock())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failing_disk_is_the_nodes_fault(number: int) -> None:
    with pytest.raises(NodeFaultError), disk_faults():
        raise OSError(number, os.strerror(number))


def test_other_errors_are_not_the_disks() -> None:
    with pytest.raises(FileNotFoundError), disk_faults():
        raise FileNotFoundError(errno.ENOENT, "no")
