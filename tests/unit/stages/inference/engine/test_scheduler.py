# SPDX-License-Identifier: Apache-2.0
"""What the scheduler deals out and in which order, and what it says of it."""

from __future__ import annotations

import threading

import pytest

from sqscribe.errors import ErrorCode
from stages.inference.engine.rows import Again, Batch, Outcome, Row
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    EngineEvent,
    EngineSettings,
    EngineStats,
    JobLanguage,
    JobRejected,
    Progress,
)
from worker.testing.decoder import SimulatedDecoder, Simulation
from worker.testing.scheduling import (
    SchedulerBench,
    again,
    done,
    names,
    probed,
    task,
)

# -- turns -------------------------------------------------------------------------------------------------------------


def test_jobs_take_turns_so_that_a_short_one_does_not_wait_for_a_long_one() -> None:
    # Given a very long job that has begun
    bench = SchedulerBench()
    bench.add("long", range(1000))
    assert bench.work(limit=4) == [("long", 0), ("long", 1), ("long", 2), ("long", 3)]

    # When a short one comes
    bench.add("short", range(2))

    # Then they share the next batch, row by row
    assert bench.work(limit=4) == [("long", 4), ("short", 0), ("long", 5), ("short", 1)]
    assert bench.work(limit=4) == [("long", index) for index in (6, 7, 8, 9)]


def test_the_turn_goes_on_where_the_last_batch_ended() -> None:
    bench = SchedulerBench()
    for job in "abc":
        bench.add(job, range(3))

    assert bench.work(limit=2) == [("a", 0), ("b", 0)]
    assert bench.work(limit=2) == [("c", 0), ("a", 1)]
    assert bench.work(limit=2) == [("b", 1), ("c", 1)]


def test_an_idle_device_starts_with_what_is_there() -> None:
    bench = SchedulerBench()
    bench.add("job", [0])

    assert bench.work(limit=32) == [("job", 0)]


def test_keys_are_never_mixed_and_the_least_recently_served_goes_first() -> None:
    # Given jobs with prompts of three lengths, the first one with work without end
    bench = SchedulerBench()
    bench.add("plain", range(100))
    bench.add("prompt", range(4), initial_prompt="ab")
    bench.add("long prompt", range(4), initial_prompt="abcdef")

    # When batches are dealt
    batches = [{job for job, _ in bench.work(limit=2)} for _ in range(7)]

    # Then each holds one key, and no key waits longer than there are keys
    assert batches == [{"plain"}, {"prompt"}, {"long prompt"}, {"plain"}, {"prompt"}, {"long prompt"}, {"plain"}]


def test_a_key_that_empties_and_comes_back_does_not_jump_the_queue() -> None:
    bench = SchedulerBench()
    bench.add("plain", range(100))
    bench.add("first", [0], initial_prompt="ab")
    served = []
    for number in range(6):
        batch = bench.take(limit=1)
        served.append(len(batch.rows[0].job.own))
        bench.scheduler.give(batch, [done(row) for row in batch.rows])
        if served[-1]:
            bench.add(f"again {number}", [0], initial_prompt="ab")

    assert served == [0, 2, 0, 2, 0, 2]


def test_beams_do_not_share_a_batch() -> None:
    bench = SchedulerBench()
    bench.add("wide", [0], beam_size=5)
    bench.add("narrow", [0], beam_size=1)

    assert bench.work() == [("wide", 0)]
    assert bench.work() == [("narrow", 0)]


def test_every_window_comes_out_once_and_a_finished_job_is_forgotten() -> None:
    bench = SchedulerBench()
    bench.add("job", range(5))
    for _ in range(3):
        bench.work(limit=2)

    assert bench.finished() == [("job", index) for index in range(5)]
    assert bench.nothing_to_take()
    bench.add("job", [0])  # its key is free again
    assert bench.work() == [("job", 0)]


def test_a_window_that_the_decoder_finishes_twice_is_told_once() -> None:
    bench = SchedulerBench()
    bench.add("job", [0, 1])
    batch = bench.take(limit=1)
    bench.scheduler.give(batch, [done(batch.rows[0]), done(batch.rows[0])])

    assert bench.finished() == [("job", 0)]


def test_a_decoder_that_loses_a_row_is_found_out() -> None:
    bench = SchedulerBench()
    bench.add("job", [0])
    batch = bench.take()

    with pytest.raises(RuntimeError, match="lost rows"):
        bench.scheduler.give(batch, [])


# -- retries -----------------------------------------------------------------------------------------------------------


def test_retries_of_several_jobs_are_gathered_and_go_when_the_oldest_has_waited_long_enough() -> None:
    # Given two jobs, each with a window to be retried, and fresh work without end
    bench = SchedulerBench()
    bench.add("a", [0])
    bench.work(outcome=again)
    bench.time += 0.6
    bench.add("b", [0])
    bench.work(outcome=again)
    bench.add("long", range(1000))

    # When not a second has gone by, then fresh rows go
    assert bench.work(limit=3) == [("long", 0), ("long", 1), ("long", 2)]

    # And after it, both retries go, before fresh rows
    bench.time += 0.5
    assert bench.work(limit=3) == [("a", 0), ("b", 0)]


def test_a_full_batch_of_retries_goes_at_once() -> None:
    bench = SchedulerBench()
    bench.add("a", [0, 1])
    bench.work(outcome=again)
    bench.add("long", range(1000))

    assert bench.work(limit=2) == [("a", 0), ("a", 1)]


def test_retries_go_at_once_when_there_is_nothing_else_to_do() -> None:
    bench = SchedulerBench()
    bench.add("job", [0])
    bench.work(outcome=again)

    assert bench.work() == [("job", 0)]
    assert bench.finished() == [("job", 0)]


def test_retries_wait_while_a_batch_is_under_way_that_may_bring_company() -> None:
    # Given a retry, and another batch on the device
    bench = SchedulerBench()
    bench.add("a", [0])
    bench.add("b", [0])
    bench.work(limit=1, outcome=again)
    under_way = bench.take()

    # Then it waits
    assert bench.nothing_to_take()

    # And when the batch ends, both go
    bench.scheduler.give(under_way, [again(row) for row in under_way.rows])
    assert bench.work() == [("a", 0), ("b", 0)]


def test_retries_at_different_temperatures_do_not_mix() -> None:
    bench = SchedulerBench()
    bench.add("job", [0, 1])
    bench.work(outcome=lambda row: again(row, 0.2 if row.window.index == 0 else 0.4))

    assert bench.work() == [("job", 0)]
    assert bench.work() == [("job", 1)]


def test_the_halves_of_a_split_window_go_first() -> None:
    # Given a job with more to come
    bench = SchedulerBench()
    bench.add("job", range(10))

    # When its first window is split
    def split(row: Row) -> Outcome:
        return Again((row, Row(row.job, row.window, row.key, row.language)), "truncated")

    bench.work(limit=1, outcome=split)

    # Then its halves are next, and the window is finished with the last of them
    batch = bench.take(limit=3)
    assert names(batch.rows) == [("job", 0), ("job", 0), ("job", 1)]
    bench.scheduler.give(batch, [done(row) for row in batch.rows[1:]])
    assert bench.finished() == [("job", 0), ("job", 1)]


def test_who_waits_for_work_is_woken_when_a_retry_is_due() -> None:
    # Given a real clock, a batch under way and a retry that waits
    events: list[EngineEvent | Progress] = []
    decoder = SimulatedDecoder(Simulation(), EngineSettings(model="", name="simulated"))
    scheduler = Scheduler(decoder, events.append, retry_seconds=0.05)
    scheduler.add(task("job", [0]))
    batch = scheduler.take(8, timeout=0.0)
    assert batch is not None
    scheduler.give(batch, [again(row) for row in batch.rows])
    scheduler.add(task("other", [0]))
    under_way = scheduler.take(8, timeout=0.0)
    assert under_way is not None
    assert names(under_way.rows) == [("other", 0)]

    # When one waits much longer than the retry may
    due = scheduler.take(8, timeout=60.0)

    # Then the retry comes
    assert due is not None
    assert names(due.rows) == [("job", 0)]


# -- cancelling, closing -----------------------------------------------------------------------------------------------


def test_a_cancelled_job_is_dropped_wherever_its_rows_are() -> None:
    # Given a job with rows queued, parked for a retry, and under way; and another one
    bench = SchedulerBench()
    bench.add("gone", range(9))
    bench.work(limit=2, outcome=again)
    under_way = bench.take(limit=3)
    assert names(under_way.rows) == [("gone", 2), ("gone", 3), ("gone", 4)]
    bench.add("kept", [0])

    # When
    bench.scheduler.cancel("gone")

    # Then only the other one is dealt out, and what was under way is thrown away
    assert bench.work() == [("kept", 0)]
    bench.scheduler.give(under_way, [done(row) for row in under_way.rows])
    assert bench.nothing_to_take()
    assert bench.finished() == [("kept", 0)]


def test_a_job_cancelled_while_it_is_probed_leaves_nothing_behind() -> None:
    bench = SchedulerBench()
    bench.add("gone", range(5), probes=(0, 2), language=None)
    under_way = bench.take(limit=1)
    bench.scheduler.cancel("gone")
    bench.scheduler.give(under_way, [probed(row) for row in under_way.rows])

    assert bench.nothing_to_take()
    assert bench.said(JobLanguage) == []


def test_outcomes_of_a_cancelled_job_do_not_count_for_a_new_one_of_its_name() -> None:
    bench = SchedulerBench()
    bench.add("job", [0, 1])
    stale = bench.take()
    bench.scheduler.cancel("job")
    bench.add("job", [0, 1])
    bench.scheduler.give(stale, [done(stale.rows[0]), again(stale.rows[1])])

    assert bench.finished() == []
    assert bench.work() == [("job", 0), ("job", 1)]
    assert bench.nothing_to_take()


def test_cancelling_an_unknown_job_is_no_error() -> None:
    SchedulerBench().scheduler.cancel("never heard of")


def test_what_the_decoder_refuses_is_rejected_and_takes_no_part() -> None:
    bench = SchedulerBench()
    bench.add("job", [0], hotwords="reject")

    assert [(event.job_key, event.code) for event in bench.said(JobRejected)] == [("job", ErrorCode.UNSUPPORTED_OPTION)]  # type: ignore[union-attr]
    assert bench.nothing_to_take()


def test_a_job_rejected_later_is_dropped_and_told_once() -> None:
    bench = SchedulerBench()
    bench.add("job", [0, 1])
    bench.scheduler.reject("job", ErrorCode.INTERRUPTED, "its audio is gone")
    bench.scheduler.reject("job", ErrorCode.INTERRUPTED, "its audio is gone")

    assert bench.events == [JobRejected("job", ErrorCode.INTERRUPTED, "its audio is gone")]
    assert bench.nothing_to_take()


def test_a_batch_that_is_put_back_is_dealt_again_without_the_jobs_that_went_meanwhile() -> None:
    bench = SchedulerBench()
    bench.add("gone", [0])
    bench.add("kept", range(3))
    batch = bench.take(limit=2)
    bench.scheduler.cancel("gone")
    bench.scheduler.put_back(batch)

    assert bench.work() == [("kept", 0), ("kept", 1), ("kept", 2)]


def test_closing_wakes_whoever_waits_and_deals_nothing_out_any_more() -> None:
    # Given a thread that waits
    bench = SchedulerBench()
    taken: list[Batch | None] = []
    decoder = SimulatedDecoder(Simulation(), EngineSettings(model="", name="simulated"))
    scheduler = Scheduler(decoder, bench.hear, retry_seconds=1.0)
    thread = threading.Thread(target=lambda: taken.append(scheduler.take(1, timeout=60.0)))
    thread.start()

    # When
    scheduler.close()
    thread.join(10.0)

    # Then
    assert taken == [None]
    assert scheduler.closed
    scheduler.add(task("job", [0]))
    assert scheduler.take(1, timeout=0.0) is None


# -- figures -----------------------------------------------------------------------------------------------------------


def test_a_batch_is_told_with_its_windows_audio_kind_and_retries() -> None:
    bench = SchedulerBench()
    bench.add("job", range(3), probes=(0,), language=None)
    bench.work(outcome=probed)
    bench.work(outcome=lambda row: done(row) if row.window.index == 2 else again(row))
    bench.work()

    assert [
        (stats.kind, stats.windows, stats.audio_seconds, stats.retries)
        for stats in bench.events
        if isinstance(stats, EngineStats)
    ] == [
        ("probe", 1, 10.0, ()),
        ("decode", 3, 30.0, (("logprob", 2),)),
        ("retry", 2, 20.0, ()),
    ]


def test_busy_time_is_the_time_in_which_at_least_one_batch_was_out() -> None:
    # Given two batches that overlap: 100-103 and 101-105, then a pause, then one at 110-111
    bench = SchedulerBench()
    bench.add("job", range(3))
    first = bench.take(limit=1)
    bench.time = 101.0
    second = bench.take(limit=1)
    bench.time = 103.0
    bench.scheduler.give(first, [done(row) for row in first.rows])
    bench.time = 105.0
    bench.scheduler.give(second, [done(row) for row in second.rows])
    bench.time = 110.0
    third = bench.take(limit=1)
    bench.time = 111.0
    bench.scheduler.give(third, [done(row) for row in third.rows])

    # Then nothing is counted twice, and the pause not at all
    assert [stats.busy_seconds for stats in bench.events if isinstance(stats, EngineStats)] == [3.0, 2.0, 1.0]


def test_a_batch_that_hangs_is_seen_although_others_come_and_go() -> None:
    bench = SchedulerBench()
    bench.add("job", range(3))
    hung = bench.take(limit=1)
    assert bench.beats[-1].stalled == 0.0
    bench.time += 30.0
    other = bench.take(limit=1)
    assert bench.beats[-1].stalled == 30.0
    bench.time += 30.0
    bench.scheduler.give(other, [done(row) for row in other.rows])

    assert bench.beats[-1].stalled == 60.0
    bench.scheduler.give(hung, [done(row) for row in hung.rows])
    assert bench.beats[-1].stalled == 0.0
