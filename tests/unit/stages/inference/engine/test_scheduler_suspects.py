# SPDX-License-Identifier: Apache-2.0
"""How the scheduler deals windows that may have brought an engine down."""

from __future__ import annotations

import threading

from sqscribe.errors import ErrorCode
from stages.inference.engine.rows import Batch
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    EngineEvent,
    EngineSettings,
    JobLanguage,
    JobRejected,
    Progress,
)
from worker.testing.decoder import SimulatedDecoder, Simulation
from worker.testing.scheduling import (
    SUSPECT_SECONDS,
    SchedulerBench,
    again,
    done,
    names,
    probed,
    task,
)


def under_way(bench: SchedulerBench) -> list[list[tuple[str, int]]]:
    return [list(batch) for batch in bench.beats[-1].under_way]


def test_beats_say_which_windows_are_under_way_the_oldest_batch_first() -> None:
    bench = SchedulerBench()
    bench.add("job", range(3))
    first = bench.take(limit=2)
    bench.time += 5.0
    second = bench.take(limit=2)

    assert under_way(bench) == [[("job", 0), ("job", 1)], [("job", 2)]]
    assert bench.beats[-1].stalled == 5.0
    bench.scheduler.give(first, [done(row) for row in first.rows])
    assert under_way(bench) == [[("job", 2)]]
    bench.scheduler.put_back(second)
    assert under_way(bench) == []
    bench.work()
    beats = len(bench.beats)
    assert bench.nothing_to_take()  # an idle thread beats as well
    assert len(bench.beats) == beats + 1


def test_suspects_go_behind_all_others_group_by_group_and_alone() -> None:
    # Given suspects of two jobs in two groups
    bench = SchedulerBench(suspects=[[("a", 1), ("b", 0)], [("a", 0)]])
    bench.add("a", range(4))
    bench.add("b", range(2))

    # Then the others go first
    others = bench.take()
    assert sorted(names(others.rows)) == [("a", 2), ("a", 3), ("b", 1)]
    assert not others.exclusive
    # And the suspects wait until the device has nothing to do
    assert bench.nothing_to_take()
    bench.scheduler.give(others, [done(row) for row in others.rows])

    # Then a group goes, and while it does nothing else, even what is new
    suspects = bench.take()
    assert sorted(names(suspects.rows)) == [("a", 1), ("b", 0)]
    assert suspects.exclusive
    bench.add("c", [0])
    assert bench.nothing_to_take()
    bench.scheduler.give(suspects, [done(row) for row in suspects.rows])
    assert bench.work() == [("c", 0)]
    assert bench.work() == [("a", 0)]
    assert bench.nothing_to_take()
    assert len(bench.finished()) == 7


def test_suspects_that_have_waited_long_enough_go_first_until_none_is_left() -> None:
    # Given a device that is never idle, and suspects that have to be retried
    bench = SchedulerBench(suspects=[[("poor", 0)], [("poor", 1)]])
    bench.add("poor", range(2))
    bench.add("endless", range(1000))
    bench.time += SUSPECT_SECONDS - 1
    assert bench.work(limit=2) == [("endless", 0), ("endless", 1)]
    running = bench.take(limit=1)

    # When their time has come
    bench.time += 1

    # Then nothing is begun any more until they are alone, and they are worked off
    assert bench.nothing_to_take()
    bench.scheduler.give(running, [done(row) for row in running.rows])
    assert bench.work(outcome=again) == [("poor", 0)]
    assert bench.work() == [("poor", 0)]
    assert bench.work() == [("poor", 1)]
    # And the others go on
    assert bench.work(limit=1) == [("endless", 3)]


def test_who_waits_is_woken_when_the_suspects_time_has_come() -> None:
    events: list[EngineEvent | Progress] = []
    decoder = SimulatedDecoder(Simulation(), EngineSettings(model="", name="simulated"))
    scheduler = Scheduler(decoder, events.append, retry_seconds=60.0, suspects=[[("suspect", 0)]], suspect_seconds=0.05)
    scheduler.add(task("suspect", [0]))
    scheduler.add(task("other", [0, 1]))
    first = scheduler.take(1, timeout=0.0)
    assert first is not None
    scheduler.give(first, [again(row) for row in first.rows])  # waits for company, for a minute
    second = scheduler.take(1, timeout=0.0)
    assert second is not None
    taken: list[Batch | None] = []
    thread = threading.Thread(target=lambda: taken.append(scheduler.take(1, timeout=60.0)))
    thread.start()

    # When the batch under way ends
    scheduler.give(second, [done(row) for row in second.rows])
    thread.join(10.0)

    # Then work goes on, whichever of the two comes first
    assert not thread.is_alive()
    assert taken != [None]


def test_a_suspects_probe_settles_the_language_of_its_job() -> None:
    # Given a job that is probed on windows of two groups and on one of none
    bench = SchedulerBench(suspects=[[("job", 0)], [("job", 2)]])
    bench.add("job", range(4), probes=(0, 1, 2), language=None)

    assert bench.work(outcome=probed) == [("job", 1)]
    assert bench.work(outcome=probed) == [("job", 0)]
    assert bench.work(outcome=probed) == [("job", 2)]

    assert bench.said(JobLanguage) == [JobLanguage("job", "de", 1.0)]
    assert bench.work() == [("job", 1), ("job", 3)]
    assert bench.work() == [("job", 0)]
    assert bench.work() == [("job", 2)]
    assert bench.nothing_to_take()


def test_a_batch_that_fails_goes_again_in_halves_behind_the_others() -> None:
    bench = SchedulerBench()
    bench.add("job", range(6))
    batch = bench.take(limit=4)

    bench.scheduler.suspect(batch, "it failed")

    assert bench.work() == [("job", 4), ("job", 5)]
    assert bench.work() == [("job", 0), ("job", 1)]
    assert bench.work() == [("job", 2), ("job", 3)]
    assert len(bench.finished()) == 6


def test_a_window_that_fails_by_itself_twice_costs_its_job_and_no_other() -> None:
    bench = SchedulerBench()
    bench.add("bad", range(3))
    bench.add("good", range(2))

    # When every batch with one window fails
    while (batch := bench.scheduler.take(4, timeout=0.0)) is not None:
        if ("bad", 1) in names(batch.rows):
            bench.scheduler.suspect(batch, "it failed")
        else:
            bench.scheduler.give(batch, [done(row) for row in batch.rows])

    (rejected,) = [event for event in bench.events if isinstance(event, JobRejected)]
    assert (rejected.job_key, rejected.code) == ("bad", ErrorCode.INFERENCE_FAILED)
    assert rejected.message.startswith("window 1, 10.0 s into the audio")
    assert [window for window in bench.finished() if window[0] == "good"] == [("good", 0), ("good", 1)]


def test_suspects_of_a_cancelled_job_are_not_dealt() -> None:
    bench = SchedulerBench()
    bench.add("gone", range(2))
    bench.add("kept", range(2))
    batch = bench.take()
    bench.scheduler.cancel("gone")

    bench.scheduler.suspect(batch, "it failed")

    assert bench.work() == [("kept", 0)]
    bench.add("gone", [0])  # another attempt is nobody's suspect
    assert bench.work() == [("gone", 0)]
    assert bench.work() == [("kept", 1)]


def test_a_job_whose_prompt_cannot_be_read_is_rejected() -> None:
    bench = SchedulerBench()

    bench.add("job", [0], hotwords="choke")

    (rejected,) = [event for event in bench.events if isinstance(event, JobRejected)]
    assert rejected.code == ErrorCode.INFERENCE_FAILED
    assert "ValueError: this simulated tokeniser" in rejected.message
