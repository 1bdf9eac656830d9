# SPDX-License-Identifier: Apache-2.0
"""Silent sources: when they are down themselves, and when it is this node that is cut off."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, TransientError
from stages.fetch import NoAnswerError
from stages.ports import Cancellation
from worker.node.faults import NodeFaults
from worker.node.source_outage import SourceOutage
from worker.testing.clock import FakeClock

LONGEST = 600.0


class Bench:
    """Fetches from hosts that are up or down, one after another."""

    def __init__(self, longest: float = LONGEST) -> None:
        self.clock = FakeClock()
        self.up: set[str] = set()
        self.asked: list[str] = []
        self.outage = SourceOutage(self.clock, self._answers, hosts=3, longest=longest)

    def _answers(self, host: str, port: int) -> bool:
        assert port == 443
        self.asked.append(host)
        return host in self.up

    def reach(self, host: str) -> str:
        """What a fetch does first."""
        self.clock.advance(1)
        if host not in self.up:
            raise NoAnswerError(host, f"https://{host}/a.mp3 cannot be reached")
        self.outage.answered(host, 443)
        return host

    def fetch(self, *hosts: str) -> list[str]:
        """How fetches end: `fetched`, `source` or `node`, whose fault it is."""
        ends = []
        for host in hosts:
            try:
                self.outage.outlasting(lambda host=host: self.reach(host))  # type: ignore[misc]
                ends.append("fetched")
            except NoAnswerError:
                ends.append("source")
            except NodeFaultError:
                ends.append("node")
        return ends


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_several_silent_hosts_in_a_row_are_the_nodes_fault_until_one_answers(bench: Bench) -> None:
    # Given three sources on different hosts that do not answer: the first two are taken at their word
    assert bench.fetch("a", "b", "c") == ["source", "source", "node"]
    # Then whoever is silent from now on is not to blame
    assert bench.fetch("d", "a", "c") == ["node", "node", "node"]
    with pytest.raises(NodeFaultError) as fault:
        bench.outage.outlasting(lambda: bench.reach("e"))
    assert fault.value.code is ErrorCode.SOURCE_UNREACHABLE
    # When one of them answers again
    bench.up = {"d"}
    assert bench.fetch("d") == ["fetched"]
    # Then the next ones that do not are to blame themselves
    bench.clock.advance(1)
    assert bench.fetch("a", "b") == ["source", "source"]


def test_one_host_however_often_it_is_silent_is_at_fault_itself(bench: Bench) -> None:
    assert set(bench.fetch(*["a"] * 20, *["b", "a"] * 10)) == {"source"}
    assert bench.asked == []


def test_an_answer_in_between_begins_the_row_anew(bench: Bench) -> None:
    bench.up = {"good"}
    assert bench.fetch("a", "b", "good", "c", "d") == ["source", "source", "fetched", "source", "source"]


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_answer_of_any_kind_shows_that_the_network_works(bench: Bench, status: int) -> None:
    kind = TransientError if status == 500 else PermanentError

    def refused() -> str:
        bench.outage.answered("good", 443)
        raise kind(ErrorCode.SOURCE_FORBIDDEN, f"{status}")

    assert bench.fetch("a", "b") == ["source", "source"]
    with pytest.raises(kind):
        bench.outage.outlasting(refused)
    assert bench.fetch("c", "d") == ["source", "source"]


def test_a_fetch_from_elsewhere_than_the_web_is_an_answer_too(bench: Bench) -> None:
    # Given two silent hosts and then an object from S3
    assert bench.fetch("a", "b") == ["source", "source"]
    assert bench.outage.outlasting(lambda: "s3://bucket/key") == "s3://bucket/key"
    # Then the row begins anew, but S3 is not asked whether the web can be reached
    assert bench.fetch("c", "d", "e") == ["source", "source", "node"]
    assert bench.asked == []


def test_other_failures_say_nothing_of_the_network(bench: Bench) -> None:
    def called_off() -> str:
        raise TransientError(ErrorCode.SOURCE_CHANGED, "it has changed")

    assert bench.fetch("a", "b") == ["source", "source"]
    with pytest.raises(TransientError):
        bench.outage.outlasting(called_off)
    assert bench.fetch("c") == ["node"]


def test_dead_links_are_told_from_an_outage_by_the_host_that_answered_last(bench: Bench) -> None:
    # Given a queue in which dead links are many, and a host that is up
    bench.up = {"good"}
    assert bench.fetch("good") == ["fetched"]
    # Then none of them is held: the good one is asked before the node is suspected
    assert bench.fetch("a", "b", "c", "d", "e", "f") == ["source"] * 6
    assert bench.asked == ["good", "good"]
    # When that one is silent, too
    bench.up = set()
    assert bench.fetch("g", "h", "i") == ["source", "source", "node"]


def test_an_outage_is_over_when_the_last_host_can_be_reached_again(bench: Bench) -> None:
    bench.up = {"good"}
    bench.fetch("good")
    bench.up = set()
    assert bench.fetch("a", "b", "c") == ["source", "source", "node"]
    bench.up = {"good"}
    # The job that finds it out is kept for another try: its own may have begun too early
    assert bench.fetch("c") == ["node"]
    bench.clock.advance(1)
    assert bench.fetch("c") == ["source"]


def test_a_queue_of_nothing_but_dead_links_is_not_waited_for_for_ever(bench: Bench) -> None:
    # Given an outage in which nobody answers
    assert bench.fetch("a", "b", "c") == ["source", "source", "node"]
    bench.clock.advance(LONGEST - 10)
    assert bench.fetch("c") == ["node"]
    # When it has lasted long enough
    bench.clock.advance(10)
    with capture_logs() as logs:
        assert bench.fetch("c") == ["source"]
    assert [log["event"] for log in logs] == ["sources_given_up"]
    # Then silence is the sources' own, however many of them there are
    assert set(bench.fetch(*[f"dead-{number}" for number in range(1000)])) == {"source"}
    # And the next answer makes silence suspicious again
    bench.up = {"good"}
    assert bench.fetch("good") == ["fetched"]
    bench.up = set()
    assert bench.fetch("a", "b", "c") == ["source", "source", "node"]


def test_a_fetch_that_began_in_an_outage_is_not_blamed_after_it(bench: Bench) -> None:
    # Given an outage, and a fetch that began in it
    assert bench.fetch("a", "b", "c") == ["source", "source", "node"]

    def late() -> str:
        # When somebody else is answered while it waits for its time-out
        bench.outage.answered("good", 443)
        bench.clock.advance(5)
        raise NoAnswerError("c", "timed out")

    with pytest.raises(NodeFaultError):
        bench.outage.outlasting(late)


def test_an_answer_while_the_last_host_is_asked_counts(bench: Bench) -> None:
    bench.up = {"good"}
    bench.fetch("good")
    bench.up = set()
    answers = bench.outage._answers

    def slowly(host: str, port: int) -> bool:
        bench.outage.answered("other", 443)
        return answers(host, port)

    bench.outage._answers = slowly
    assert bench.fetch("a", "b", "c") == ["source"] * 3


def test_where_nothing_is_to_be_waited_for_silence_is_always_the_sources() -> None:
    bench = Bench(longest=0)
    assert bench.fetch("a", "b", "c", "d") == ["source"] * 4


def test_jobs_wait_for_the_end_of_an_outage_and_go_on(bench: Bench) -> None:
    """With `NodeFaults` around it, as in the worker."""
    faults = NodeFaults(bench.clock, first=1.0, longest=30.0)
    assert bench.fetch("a", "b") == ["source", "source"]
    done: list[str] = []
    fetch: Callable[[], str] = lambda: bench.outage.outlasting(lambda: bench.reach("c"))  # noqa: E731
    thread = threading.Thread(target=lambda: done.append(faults.outlast("fetch", fetch, Cancellation())), daemon=True)
    thread.start()
    for _ in range(3):
        bench.clock.settle()
        assert faults.current is not None
        assert "cannot be reached; nor does any other source answer" in faults.current
        bench.clock.advance(30)
    bench.clock.settle()
    bench.up = {"c"}
    bench.clock.advance(30)
    thread.join(10)
    assert done == ["c"]
    assert faults.current is None
