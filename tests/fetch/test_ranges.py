# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, NodeFaultError, TransientError
from stages.fetch.ranges import RangePlan, RangeRefusedError, RangeThreads, Span
from stages.fetch.watch import TransferWatch
from stages.fetch.writer import SourceSpace, SourceWriter
from stages.ports import Cancellation

BODY = os.urandom(200_000)


@given(st.integers(0, 5000), st.integers(1, 500), st.integers(1, 9), st.integers(0, 2**32))
def test_whatever_is_taken_cut_and_left_every_byte_is_brought_once(
    total: int, least: int, parts: int, seed: int
) -> None:
    chance = random.Random(seed)
    plan = RangePlan(total, least)
    brought = [0] * total
    running: list[Span] = []
    for _ in range(100_000):
        span = plan.take() if len(running) < parts else None
        if span:
            running.append(span)
            if chance.random() < 0.3:
                plan.share(span, parts)
        if not running:
            break
        current = chance.choice(running)
        count = plan.wanted(current, chance.randint(1, 300))
        for place in range(current.at, current.at + count):
            brought[place] += 1
        if plan.advance(current, count) == 0 or chance.random() < 0.05:
            plan.leave(current)
            running.remove(current)
    assert brought == [1] * total
    assert plan.done == total


def test_a_span_takes_over_what_is_left_behind_it() -> None:
    plan = RangePlan(100, 10)
    first = plan.take()
    assert first
    plan.share(first, 4)
    assert (first.at, first.end) == (0, 25)
    assert plan.advance(first, 25) == 25
    assert (first.at, first.end) == (25, 50)
    # But not what another has taken
    second = plan.take()
    assert second
    assert (second.at, second.end) == (50, 75)
    assert plan.advance(first, 25) == 0


class Bench:
    """A file that several threads write."""

    def __init__(self, folder: Path, reserve: Any) -> None:
        self.cancellation = Cancellation()
        self.watch = TransferWatch(self.cancellation, 0, 1)
        space = SourceSpace(2**20, reserve, self.cancellation, self.watch)
        self.writer = SourceWriter(folder / "source", space, self.watch)
        self.plan = RangePlan(len(BODY), 1000)

    def bring(self, span: Span) -> None:
        left = span.end - span.at
        while left:
            count = self.plan.wanted(span, 700)
            self.writer.write_at(span.at, BODY[span.at : span.at + count])
            left = self.plan.advance(span, count)

    def run(self, bring: Any, extra: int = 4) -> None:
        with RangeThreads(self.plan, extra, bring, lambda: None) as threads:
            threads.wait(self.watch.check)


@pytest.fixture
def bench(tmp_path: Path, reserve: Any) -> Iterator[Bench]:
    bench = Bench(tmp_path, reserve)
    yield bench
    bench.writer._file.close()


def test_threads_bring_a_file_whose_digest_is_right(bench: Bench) -> None:
    bench.writer.declare(len(BODY))
    bench.run(bench.bring)
    assert bench.plan.done == len(BODY)
    bench.writer.fill(len(BODY))
    source = bench.writer.finish()
    assert source.path.read_bytes() == BODY
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()


def test_what_one_thread_leaves_the_others_bring(bench: Bench) -> None:
    refused = threading.Event()

    def bring(span: Span) -> None:
        if not refused.is_set():
            refused.set()
            raise RangeRefusedError(ErrorCode.SOURCE_UNREACHABLE, "one is enough")
        bench.bring(span)

    bench.writer.declare(len(BODY))
    bench.run(bring)
    assert bench.plan.done == len(BODY)


def test_a_thread_goes_on_while_it_advances_and_ends_when_it_does_not(bench: Bench) -> None:
    tries = []

    def bring(span: Span) -> None:
        tries.append(span.at)
        if len(tries) < 5:
            bench.writer.write_at(span.at, BODY[span.at : span.at + 1000])
            bench.plan.advance(span, 1000)
        raise TransientError(ErrorCode.SOURCE_UNREACHABLE, "broke off")

    bench.writer.declare(len(BODY))
    bench.run(bring, extra=1)
    assert tries == [0, 1000, 2000, 3000, 4000]
    assert bench.plan.done == 4000


@pytest.mark.parametrize("error", [TransientError(ErrorCode.SOURCE_CHANGED, "another"), NodeFaultError("no disk")])
def test_some_errors_end_them_all(bench: Bench, error: Exception) -> None:
    raised = threading.Event()

    def bring(span: Span) -> None:
        if not raised.is_set():
            raised.set()
            raise error
        bench.plan.advance(span, 1)
        threading.Event().wait(0.01)
        raise TransientError(ErrorCode.SOURCE_UNREACHABLE, "cut")

    span = bench.plan.take()
    assert span
    bench.plan.share(span, 3)
    bench.plan.leave(span)
    with pytest.raises(type(error)) as caught:
        bench.run(bring, extra=3)
    assert caught.value is error
    assert bench.plan.done < len(BODY)


def test_a_cancellation_ends_the_wait_and_the_threads(bench: Bench) -> None:
    cut = threading.Event()

    def bring(span: Span) -> None:
        bench.cancellation.cancel(CancelReason.SHUTDOWN)
        cut.wait(30)
        raise TransientError(ErrorCode.SOURCE_UNREACHABLE, f"cut at {span.at}")

    with pytest.raises(Cancelled), RangeThreads(bench.plan, 2, bring, cut.set) as threads:
        threads.wait(bench.watch.check)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-range")]
