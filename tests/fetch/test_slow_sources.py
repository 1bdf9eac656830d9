# SPDX-License-Identifier: Apache-2.0
"""Sources that crawl: given up when they are hopeless, and never in the way of others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, TransientError
from stages.fetch import Fetcher, FetchRequest, Lanes
from stages.fetch.lanes import SlowTransfer
from stages.ports import Cancellation
from worker.testing.waiting import eventually


def crawl(case: Any, rate: int, declared: int) -> str:
    """A source that declares so many bytes and sends so many a second."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(declared))
        handler.end_headers()
        while not case.web.closing.wait(0.05):
            handler.wfile.write(b"x" * (rate // 20))

    case.web.routes["/slow"] = route
    return f"{case.web.url}/slow"


def test_a_source_that_would_take_for_ever_is_given_up_early(case: Any) -> None:
    # Given a source that is fast enough for the least rate, but declares a gigabyte
    case.limits = replace(case.limits, max_bytes=2**31, period=0.5, transfer_seconds=3600)
    began = time.monotonic()
    failure = case.failure(crawl(case, 3000, 10**9), TransientError)
    assert failure.code == ErrorCode.SOURCE_UNREACHABLE
    assert "would take" in failure.message
    assert "1.0 h is the most" in failure.message
    assert time.monotonic() - began < 3
    assert len(case.web.seen) == 1


def test_a_source_that_says_no_length_has_its_time_as_well(case: Any) -> None:
    case.limits = replace(case.limits, min_bytes_per_second=0, transfer_seconds=0.5)
    failure = case.failure(crawl(case, 3000, 10**6), TransientError)
    assert "takes too long" in failure.message
    assert len(case.web.seen) == 1


class Crowd:
    """Two turns, one slow lane."""

    def __init__(self) -> None:
        self.lanes = Lanes(2, 1, rate=1000, period=0)
        self.stack = ExitStack()

    def begin(self) -> SlowTransfer:
        assert self.stack.enter_context(self.lanes.turn(0))
        return self.stack.enter_context(self.lanes.transfer(Cancellation()))

    def has_turn(self) -> bool:
        with self.lanes.turn(0) as granted:
            return granted


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.stack.close()


def test_a_slow_download_gives_its_turn_to_another(crowd: Crowd) -> None:
    first, second = crowd.begin(), crowd.begin()
    assert not crowd.has_turn()
    crowd.lanes.judge(first, 999)
    assert crowd.has_turn()
    assert crowd.lanes.slow == 1
    # One that is fast keeps its own
    crowd.lanes.judge(second, 1001)
    assert crowd.lanes.slow == 1


def test_when_all_are_slow_the_slowest_is_given_up_and_no_other(crowd: Crowd) -> None:
    first, second = crowd.begin(), crowd.begin()
    crowd.lanes.judge(first, 300)
    third = crowd.begin()
    crowd.lanes.judge(second, 200)
    # One turn is left to a download of which nothing bad is known
    assert [each.look(0) for each in (first, second)] == [None, None]
    crowd.lanes.judge(third, 100)
    assert [each.given_up for each in (first, second, third)] == [False, False, True]
    assert "given up for now" in (third.look(0) or "")


def test_one_that_has_sent_nothing_is_left_to_its_own_time_outs(crowd: Crowd) -> None:
    # Given a network that is down: no source is to blame
    transfers = [crowd.begin(), crowd.begin()]
    crowd.lanes.judge(transfers[0], 0)
    transfers.append(crowd.begin())
    for transfer in transfers:
        crowd.lanes.judge(transfer, 0)
    assert not any(transfer.given_up for transfer in transfers)


def test_while_a_download_waits_for_its_next_try_its_turn_is_anothers() -> None:
    # Given two turns, both with downloads that wait, of which one may do without
    lanes, cancellation = Lanes(2, 0, rests=1), Cancellation()
    with ExitStack() as stack:
        first, second = (
            (stack.enter_context(lanes.turn(0)), stack.enter_context(lanes.transfer(cancellation)))[1] for _ in range(2)
        )
        with first.rest(cancellation), second.rest(cancellation):
            with lanes.turn(0) as granted, lanes.turn(0) as another:
                assert (granted, another) == (True, False)
            # One that rests is no slow one
            lanes.judge(first, 1)
            assert lanes.slow == 0
        # Then both have their turns again
        with lanes.turn(0) as granted:
            assert not granted
    with lanes.turn(0) as granted, lanes.turn(0) as another, lanes.turn(0) as third:
        assert (granted, another, third) == (True, True, False)


def test_the_next_try_waits_for_a_turn_and_hears_a_cancellation() -> None:
    lanes, cancellation = Lanes(1, 0, rests=1), Cancellation()
    with ExitStack() as other, lanes.turn(0), lanes.transfer(cancellation) as transfer:
        # Given a turn that somebody else has taken meanwhile, and keeps
        rest = transfer.rest(cancellation)
        rest.__enter__()
        assert other.enter_context(lanes.turn(0))
        cancellation.cancel(CancelReason.SHUTDOWN)
        with pytest.raises(Cancelled):
            rest.__exit__(None, None, None)
    with lanes.turn(0) as granted, lanes.turn(0) as another:
        assert (granted, another) == (True, False)


def test_one_that_comes_back_is_not_overtaken_by_new_ones() -> None:
    # Given one turn, which somebody has while a download waits for its next try
    lanes, cancellation = Lanes(1, 0, rests=1), Cancellation()
    taken, rested, back = threading.Event(), threading.Event(), threading.Event()

    def fetching() -> None:
        with lanes.turn(5), lanes.transfer(cancellation) as transfer:
            with transfer.rest(cancellation):
                taken.wait(5)
            back.set()
            rested.wait(5)

    thread = threading.Thread(target=fetching)
    with ExitStack() as other:
        thread.start()
        eventually(lambda: other.enter_context(lanes.turn(0)))
        taken.set()
        eventually(lambda: lanes.coming_back == 1)
    # Then nobody new has the turn that is given back
    with lanes.turn(0) as granted:
        assert not granted
    assert back.wait(5)
    rested.set()
    thread.join()


def test_a_slow_download_waits_for_a_turn_before_it_is_decoded() -> None:
    lanes = Lanes(1, 1, rate=1000, period=0)
    cancellation, order = Cancellation(), list[str]()
    begun, slow, other = threading.Event(), threading.Event(), threading.Event()

    def crawling() -> None:
        with lanes.turn(5), lanes.transfer(cancellation) as transfer:
            lanes.judge(transfer, 1)
            begun.set()
            slow.wait(5)
        order.append("slow")

    thread = threading.Thread(target=crawling)
    thread.start()
    assert begun.wait(5)
    with lanes.turn(0) as granted:
        assert granted
        slow.set()
        assert not other.wait(0.2)
        order.append("other")
    thread.join(5)
    assert order == ["other", "slow"]


def test_a_wait_for_a_turn_hears_a_cancellation() -> None:
    lanes, cancellation = Lanes(1, 1, rate=1000), Cancellation()
    with lanes.turn(0), ExitStack() as stack:
        transfer = stack.enter_context(lanes.transfer(cancellation))
        lanes.judge(transfer, 1)
        assert stack.enter_context(lanes.turn(0))
        cancellation.cancel(CancelReason.SHUTDOWN)
        with pytest.raises(Cancelled):
            lanes._leave(transfer, cancellation)


def test_slow_strangers_do_not_keep_a_good_source_waiting(case: Any, reserve: Any, tmp_path_factory: Any) -> None:
    # Given as many sources that crawl as there are turns
    lanes = Lanes(2, 2, rate=16_000, period=0.5)
    fetcher = Fetcher(
        replace(case.limits, max_bytes=2**31), lambda: pytest.fail("S3 was asked"), allow_private=True, lanes=lanes
    )
    slow, good = crawl(case, 3000, 10**8), case.web.serve("/good", b"ID3 here")

    def fetch(url: str) -> None:
        folder = tmp_path_factory.mktemp("job")
        with lanes.turn(5) as granted:
            assert granted
            fetcher.fetch(FetchRequest(url), folder, reserve, case.cancellation)

    def crawling() -> None:
        with pytest.raises(Cancelled):
            fetch(slow)

    threads = [threading.Thread(target=crawling) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(case.web.seen) == 2)
    # Then a good one has its turn as soon as they have shown what they are
    began = time.monotonic()
    fetch(good)
    assert time.monotonic() - began < 3
    eventually(lambda: lanes.slow == 2)  # the good one may have had the turn of the first
    case.cancellation.cancel(CancelReason.SHUTDOWN)
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
