# SPDX-License-Identifier: Apache-2.0
"""Leases that lapse under real workers: frozen past the visibility timeout, with and without another to take over.

What is checked is what the queue and the store were asked for, in the order of effects, and what stands in the end.
The engines are real processes with a simulated device: the text of a window is a digest of its audio.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from sqscribe.bundled import demo_clips
from sqscribe_bench.chaos.site import CaseSite
from sqscribe_bench.chaos.workers import Worker
from worker.embedded.aws import EmbeddedAws
from worker.testing.faults import Access, CallFault, FaultProxy, Kind
from worker.testing.recordings import looped
from worker.testing.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.wire, pytest.mark.slow]

CLIPS = {clip.name: clip.path for clip in demo_clips()}
#: Seconds of a lease. A poll that a frozen worker has left behind ends before its message is visible again.
LEASE, POLL = 4, 2
#: Of a longer one, of which a part may lapse and a part be left.
LONG_LEASE = 10
#: Seconds that a window takes; the recording has about ten, four of which make a batch.
WINDOW = 0.4
#: So much that the job outlasts the first renewal of a longer lease, and not the lease.
SLOW_WINDOW = 0.7
#: Longest wait for anything that should come; only a failing test gets there.
PATIENCE = 90.0

RENEWALS = "ChangeMessageVisibilityBatch"


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws() as running:
        yield running


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Five minutes."""
    return looped("lecture.mp3", 2, tmp_path_factory.mktemp("recording")).read_bytes()


class Case:
    """Workers on one queue, a long recording and a short one."""

    def __init__(self, site: CaseSite, recording: bytes) -> None:
        self.site = site
        self.long = site.upload("long.mp3", recording)
        self.short = site.upload("short.wav", CLIPS["hello.wav"].read_bytes())
        self.workers: list[Worker] = []
        self.frozen: list[psutil.Process] = []

    def start(self, *names: str, window: float = WINDOW) -> list[Worker]:
        """Starts workers and waits until they take messages."""
        started = [self.site.worker(name, {"window_seconds": window}) for name in names]
        self.workers += started
        for each in started:
            each.look_after()
        eventually(lambda: all(each.ready for each in started))
        return started

    def send(self) -> str:
        """Sends the long job and waits until one of the workers is in the middle of it; gives its message."""
        message = self.site.send("long", self.long)
        eventually(lambda: any(self.site.decoded(each.name, "long") for each in self.workers))
        return message

    def holder(self, message: str) -> Worker:
        """The worker that received the message last."""
        caller = [access.caller for access in self.about(message, "ReceiveMessage")][-1]
        return next(each for each in self.workers if each.caller == caller)

    def about(self, message: str, operation: str, caller: str = "") -> list[Access]:
        """Calls about a message."""
        calls = self.site.accesses(operation, caller)
        return [access for access in calls if any(entry.id == message for entry in access.entries)]

    def refused(self, message: str, one: Worker) -> list[Access]:
        """Renewals and releases of a message that a worker was refused."""
        asked = self.about(message, RENEWALS, one.caller)
        return [call for call in asked if any(entry.id == message and entry.code for entry in call.entries)]

    def freeze(self, one: Worker, *, alone: bool) -> None:
        """Stops a worker, alone or with all its children as a frozen node would."""
        self.frozen = one.family()[:1] if alone else one.family()
        for process in self.frozen:
            process.suspend()

    def resume(self) -> float:
        """Lets it go on; Unix time."""
        now = time.time()
        for process in reversed(self.frozen):
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self.frozen = []
        return now

    def done(self, job: str) -> bool:
        return "result.json" in self.site.read(job)

    def finished_by(self, job: str) -> str:
        """The access key of whoever wrote the result that stands."""
        (wrote,) = [access for access in self.site.writes(job) if access.done and "/result.json" in access.resource]
        return wrote.caller

    def work_on(self) -> None:
        """Sends short jobs until every worker has finished one."""
        waiting, number = {each.caller for each in self.workers}, 0
        while waiting:
            assert number < 40, f"{waiting} finished none of {number} jobs"
            job, number = f"short-{number}", number + 1
            self.site.send(job, self.short)
            eventually(lambda job=job: self.done(job))  # type: ignore[misc]
            waiting.discard(self.finished_by(job))

    def close(self) -> None:
        """Ends the workers in order: each exits with 0, holds nothing, and everything is done. Audits the log."""
        eventually(lambda: self.site.count() == (0, 0))
        for each in self.workers:
            each.close(PATIENCE)
        ends = [end for each in self.workers for end in each.exits]
        assert [end.code for end in ends] == [0] * len(self.workers)
        audit = self.site.audit({end.caller: end.at for end in ends})
        assert audit.violations == []
        assert {len(masters) for masters in audit.masters.values()} == {1}
        assert self.site.count() == (0, 0)
        eventually(lambda: not any(self.site.kin(each.name) for each in self.workers))

    def abandon(self) -> None:
        """Ends what is left, however the test went."""
        self.resume()
        for each in self.workers:
            each.close(PATIENCE)


@pytest.fixture
def case(aws: EmbeddedAws, tmp_path: Path, recording: bytes) -> Iterator[Callable[..., Case]]:
    """Sets a case up; ends whatever is left of it."""
    cases: list[Case] = []

    def make(**settings: object) -> Case:
        name = f"t-{uuid.uuid4().hex[:12]}"
        proxy = FaultProxy(aws.url, tmp_path / "access.jsonl", rate=0.0, truncated=0.0)
        common = {"downloaders": 1, "visibility_timeout": LEASE, "shutdown_grace": POLL / 0.3, **settings}
        cases.append(Case(CaseSite(aws, proxy, name, tmp_path, **common), recording))
        return cases[-1]

    yield make
    for each in cases:
        each.abandon()
        each.site.proxy.stop()


def check_that_it_wrote_nothing(case: Case, one: Worker, message: str, since: float) -> None:
    """That a worker was refused its lease, and neither wrote nor deleted anything from then on."""
    (refused, *_) = case.refused(message, one)
    assert refused.began > since
    assert [access for access in case.site.writes("long", one.caller) if access.began > since] == []
    assert case.about(message, "DeleteMessageBatch", one.caller) == []


# Of a worker that is frozen alone the engine goes on: when it wakes up the job is finished, and it could write at once.


@pytest.mark.parametrize("alone", [False, True], ids=["with its engine", "alone"])
def test_one_that_wakes_up_after_another_has_finished_its_job_writes_nothing(
    case: Callable[..., Case], alone: bool
) -> None:
    # Given two workers, of which one is frozen in the middle of a job
    here = case()
    here.start("one", "two")
    message = here.send()
    frozen = here.holder(message)
    here.freeze(frozen, alone=alone)
    # When the other gets the message and finishes the job
    eventually(lambda: here.site.count() == (0, 0))
    other = here.holder(message)
    assert other is not frozen
    stood = here.site.read("long")
    assert here.finished_by("long") == other.caller
    # And the first one goes on
    since = here.resume()
    eventually(lambda: here.refused(message, frozen))
    # Then both work on
    here.work_on()
    # And the first one has written nothing, the result stands as it was, and the message was deleted once
    check_that_it_wrote_nothing(here, frozen, message, since)
    assert here.site.read("long") == stood
    deletes = here.about(message, "DeleteMessageBatch")
    assert [(access.caller, access.entries[0].stale) for access in deletes] == [(other.caller, False)]
    here.close()


def test_one_that_wakes_up_while_another_is_in_the_middle_of_its_job_leaves_it_to_it(case: Callable[..., Case]) -> None:
    # Given two workers, of which one is frozen in the middle of a job
    here = case()
    here.start("one", "two")
    message = here.send()
    frozen = here.holder(message)
    here.freeze(frozen, alone=True)
    # When the other has got as far
    eventually(lambda: here.holder(message) is not frozen)
    other = here.holder(message)
    eventually(lambda: here.site.decoded(other.name, "long"))
    # And the first one goes on, whose engine has long finished
    since = here.resume()
    eventually(lambda: here.done("long"))
    assert since < here.site.writes("long")[0].began
    eventually(lambda: here.refused(message, frozen))
    # Then the other's is the one master that was ever written, and the other's is the result
    masters = [access for access in here.site.writes("long") if "/transcript.json" in access.resource]
    assert [access.caller for access in masters] == [other.caller]
    assert here.finished_by("long") == other.caller
    # And both work on, the first one has written nothing, and they hold nothing in the end
    here.work_on()
    check_that_it_wrote_nothing(here, frozen, message, since)
    here.close()


def test_one_that_nobody_stood_in_for_does_its_job_when_it_wakes_up(case: Callable[..., Case]) -> None:
    # Given a worker that is frozen in the middle of a job until its message is visible again
    here = case()
    (one,) = here.start("one")
    message = here.send()
    here.freeze(one, alone=False)
    eventually(lambda: here.site.count() == (1, 0))
    assert here.site.read("long") == {}
    # When it goes on
    since = here.resume()
    # Then the job is done, by a receive that came after the freeze: until then nothing was written
    eventually(lambda: here.done("long"))
    *earlier, last = here.about(message, "ReceiveMessage")
    assert earlier
    assert last.ended > since
    assert all(access.began > last.ended for access in here.site.writes("long"))
    here.work_on()
    here.close()


def test_one_whose_lease_lapsed_unconfirmed_waits_for_the_next_renewal_and_goes_on(case: Callable[..., Case]) -> None:
    # Given a worker in the middle of a job, whose renewals are granted without its hearing of it
    here = case(visibility_timeout=LONG_LEASE, shutdown_grace=5)
    (one,) = here.start("one", window=SLOW_WINDOW)
    here.site.proxy.force(RENEWALS, CallFault(Kind.RESET, after=True))
    message = here.send()
    eventually(lambda: any(not call.answered for call in here.about(message, RENEWALS)))
    # When it is frozen until what it knows of has run out, while its engine finishes the job
    here.freeze(one, alone=True)
    grants = here.about(message, "ReceiveMessage") + [call for call in here.about(message, RENEWALS) if call.done]
    known = max(call.began for call in grants if call.answered) + LONG_LEASE
    granted = max(call.ended for call in grants) + LONG_LEASE
    eventually(lambda: time.time() > known + 0.5)
    assert here.site.read("long") == {}
    # And it goes on, before what the queue has granted has run out too, and is answered again
    here.site.proxy.force(RENEWALS, None)
    since = here.resume()
    assert since < granted - 0.5
    # Then the job is done in its first receive
    eventually(lambda: here.done("long"))
    assert [access.caller for access in here.about(message, "ReceiveMessage")] == [one.caller]
    assert here.refused(message, one) == []
    # And nothing was written before a renewal had succeeded
    renewed = next(call for call in here.about(message, RENEWALS) if call.answered and call.ended > since)
    assert all(access.began >= renewed.ended for access in here.site.writes("long"))
    here.work_on()
    here.close()
