# SPDX-License-Identifier: Apache-2.0
"""What the scheduler deals out, in which order, and what it makes of the outcomes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sqscribe.errors import ErrorCode
from stages.inference.engine.rows import Again, Finished, Outcome, Probed, Row
from stages.inference.engine.scheduler import MAX_PROBES, Batch, Scheduler, mean_language
from stages.inference.protocol import (
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    EngineSettings,
    EngineStats,
    JobLanguage,
    JobRejected,
    Progress,
    WindowDone,
    WindowKey,
)
from stages.values import SAMPLE_RATE, Piece, Window
from worker.testing.decoder import SimulatedDecoder, Simulation, simulated_result

RETRY_SECONDS = 1.0
SUSPECT_SECONDS = 30.0


class Bench:
    """A scheduler on a clock of its own, with everything that it said."""

    def __init__(self, languages: tuple[str, ...] = ("en", "de"), suspects: Sequence[Sequence[WindowKey]] = ()) -> None:
        self.time = 100.0
        self.events: list[EngineEvent] = []
        self.beats: list[Progress] = []
        decoder = SimulatedDecoder(Simulation(languages=languages), EngineSettings(model="", name="simulated"))
        self.scheduler = Scheduler(
            decoder,
            self.hear,
            retry_seconds=RETRY_SECONDS,
            suspects=suspects,
            suspect_seconds=SUSPECT_SECONDS,
            now=lambda: self.time,
        )

    def hear(self, event: EngineEvent | Progress) -> None:
        if isinstance(event, Progress):
            self.beats.append(event)
        else:
            self.events.append(event)

    def add(self, job: str, windows: Iterable[int], probes: tuple[int, ...] = (), **options: Any) -> None:
        self.scheduler.add(task(job, windows, probes, **options))

    def take(self, limit: int = 100) -> Batch:
        batch = self.scheduler.take(limit, timeout=0.0)
        assert batch is not None
        return batch

    def nothing_to_take(self, limit: int = 100) -> bool:
        return self.scheduler.take(limit, timeout=0.0) is None

    def work(self, limit: int = 100, outcome: Callable[[Row], Outcome] | None = None) -> list[tuple[str, int]]:
        """Takes a batch, gives it back as done, and says which windows it held."""
        batch = self.take(limit)
        dealt = names(batch.rows)
        self.scheduler.give(batch, [(outcome or done)(row) for row in batch.rows])
        return dealt

    def said(self, kind: type[EngineEvent]) -> list[EngineEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def finished(self) -> list[tuple[str, int]]:
        return [(event.job, event.result.index) for event in self.events if isinstance(event, WindowDone)]


def task(job: str, windows: Iterable[int], probes: tuple[int, ...] = (), **options: Any) -> DecodeTask:
    given = DecodeOptions(language="en", task="transcribe", initial_prompt=None, hotwords=None, beam_size=5)
    return DecodeTask(
        job,
        f"/nowhere/{job}.pcm",
        tuple(map(window, windows)),
        replace(given, **options),
        probes,
    )


def window(index: int, seconds: float = 10.0, speech: float | None = None) -> Window:
    samples = int(seconds * SAMPLE_RATE)
    spoken = samples if speech is None else int(speech * SAMPLE_RATE)
    return Window(index, (Piece(0, index * samples, samples),), speech=spoken, speech_end=samples)


def names(rows: Sequence[Row]) -> list[tuple[str, int]]:
    return [(row.job.key, row.window.index) for row in rows]


def done(row: Row) -> Outcome:
    return Finished(row.job.key, simulated_result(row.window, "text", row.language or "en"))


def probed(row: Row, language: str = "de") -> Outcome:
    row.encoded = "encoder output"
    return Probed(row, {"en": 0.0, "de": 0.0, language: 1.0})


def again(row: Row, temperature: float = 0.2, *, urgent: bool = False) -> Outcome:
    row.key = row.key._replace(beam_size=1, temperature=temperature)
    row.urgent = urgent
    return Again((row,), "logprob")


# -- turns -------------------------------------------------------------------------------------------------------------


def test_jobs_take_turns_so_that_a_short_one_does_not_wait_for_a_long_one() -> None:
    # Given a very long job that has begun
    bench = Bench()
    bench.add("long", range(1000))
    assert bench.work(limit=4) == [("long", 0), ("long", 1), ("long", 2), ("long", 3)]

    # When a short one comes
    bench.add("short", range(2))

    # Then they share the next batch, row by row
    assert bench.work(limit=4) == [("long", 4), ("short", 0), ("long", 5), ("short", 1)]
    assert bench.work(limit=4) == [("long", index) for index in (6, 7, 8, 9)]


def test_the_turn_goes_on_where_the_last_batch_ended() -> None:
    bench = Bench()
    for job in "abc":
        bench.add(job, range(3))

    assert bench.work(limit=2) == [("a", 0), ("b", 0)]
    assert bench.work(limit=2) == [("c", 0), ("a", 1)]
    assert bench.work(limit=2) == [("b", 1), ("c", 1)]


def test_an_idle_device_starts_with_what_is_there() -> None:
    bench = Bench()
    bench.add("job", [0])

    assert bench.work(limit=32) == [("job", 0)]


def test_keys_are_never_mixed_and_the_least_recently_served_goes_first() -> None:
    # Given jobs with prompts of three lengths, the first one with work without end
    bench = Bench()
    bench.add("plain", range(100))
    bench.add("prompt", range(4), initial_prompt="ab")
    bench.add("long prompt", range(4), initial_prompt="abcdef")

    # When batches are dealt
    batches = [{job for job, _ in bench.work(limit=2)} for _ in range(7)]

    # Then each holds one key, and no key waits longer than there are keys
    assert batches == [{"plain"}, {"prompt"}, {"long prompt"}, {"plain"}, {"prompt"}, {"long prompt"}, {"plain"}]


def test_a_key_that_empties_and_comes_back_does_not_jump_the_queue() -> None:
    bench = Bench()
    bench.add("plain", range(100))
    bench.add("first", [0], initial_prompt="ab")
    served = []
    for number in range(6):
        batch = bench.take(limit=1)
        served.append(batch.rows[0].key.prompt_tokens)
        bench.scheduler.give(batch, [done(row) for row in batch.rows])
        if served[-1]:
            bench.add(f"again {number}", [0], initial_prompt="ab")

    assert served == [0, 2, 0, 2, 0, 2]


def test_beams_do_not_share_a_batch() -> None:
    bench = Bench()
    bench.add("wide", [0], beam_size=5)
    bench.add("narrow", [0], beam_size=1)

    assert bench.work() == [("wide", 0)]
    assert bench.work() == [("narrow", 0)]


def test_every_window_comes_out_once_and_a_finished_job_is_forgotten() -> None:
    bench = Bench()
    bench.add("job", range(5))
    for _ in range(3):
        bench.work(limit=2)

    assert bench.finished() == [("job", index) for index in range(5)]
    assert bench.nothing_to_take()
    bench.add("job", [0])  # its key is free again
    assert bench.work() == [("job", 0)]


def test_a_window_that_the_decoder_finishes_twice_is_told_once() -> None:
    bench = Bench()
    bench.add("job", [0, 1])
    batch = bench.take(limit=1)
    bench.scheduler.give(batch, [done(batch.rows[0]), done(batch.rows[0])])

    assert bench.finished() == [("job", 0)]


def test_a_decoder_that_loses_a_row_is_found_out() -> None:
    bench = Bench()
    bench.add("job", [0])
    batch = bench.take()

    with pytest.raises(RuntimeError, match="lost rows"):
        bench.scheduler.give(batch, [])


# -- language ----------------------------------------------------------------------------------------------------------


def test_a_job_without_a_language_is_probed_before_any_of_it_is_decoded() -> None:
    # Given
    bench = Bench()
    bench.add("job", range(10), probes=(1, 5, 8), language=None)

    # When
    batch = bench.take()

    # Then its probes go, and nothing else
    assert names(batch.rows) == [("job", 1), ("job", 5), ("job", 8)]
    assert all(row.key.probe and row.language is None for row in batch.rows)
    assert bench.nothing_to_take()

    # And when they have answered, the language is told before any window, and all rows are decoded in it
    bench.scheduler.give(batch, [probed(row) for row in batch.rows])
    assert bench.said(JobLanguage) == [JobLanguage("job", "de", 1.0)]
    batch = bench.take()
    assert names(batch.rows) == [("job", index) for index in (1, 5, 8, 0, 2, 3, 4, 6, 7, 9)]
    assert {row.language for row in batch.rows} == {"de"}
    assert [row.encoded for row in batch.rows[:3]] == ["encoder output"] * 3


def test_the_rest_waits_until_the_last_probe_has_answered() -> None:
    bench = Bench()
    bench.add("job", range(4), probes=(0, 3), language=None)
    bench.work(limit=1, outcome=probed)

    assert bench.work(limit=100, outcome=probed) == [("job", 3)]
    assert bench.work() == [("job", index) for index in (0, 3, 1, 2)]


def test_probes_weigh_as_much_as_they_hold_speech() -> None:
    # Given two windows of little speech that sound English, and one full of German
    bench = Bench()
    bench.add("job", [0], language="en")
    job = bench.take().rows[0].job
    rows = [Row(job, window(index, speech=speech), None, None) for index, speech in enumerate((1, 1, 8))]  # type: ignore[arg-type]
    english, german = {"en": 0.9, "de": 0.1}, {"en": 0.4, "de": 0.6}

    # When
    language, probability = mean_language([Probed(rows[2], german), Probed(rows[0], english), Probed(rows[1], english)])

    # Then
    assert language == "de"
    assert probability == pytest.approx((0.1 + 0.1 + 8 * 0.6) / 10)


def test_windows_without_measured_speech_are_probed_all_the_same() -> None:
    bench = Bench()
    bench.add("job", [0], language="en")
    job = bench.take().rows[0].job

    assert mean_language([Probed(Row(job, window(0, speech=0), None, None), {"en": 0.2, "de": 0.8})]) == ("de", 0.8)  # type: ignore[arg-type]


def test_probes_that_are_done_already_are_left_out() -> None:
    bench = Bench()
    bench.add("job", [4, 5, 6], probes=(0, 2, 5), language=None)

    assert bench.work(outcome=probed) == [("job", 5)]


def test_where_all_probes_are_done_the_first_windows_are_asked() -> None:
    bench = Bench()
    bench.add("job", range(10, 30), probes=(0, 2, 5), language=None)

    assert bench.work(outcome=probed) == [("job", index) for index in range(10, 10 + MAX_PROBES)]


def test_no_job_is_probed_more_than_five_times() -> None:
    bench = Bench()
    bench.add("job", range(1000), probes=tuple(range(1000)), language=None)

    assert len(bench.work(outcome=probed)) == MAX_PROBES


def test_jobs_are_probed_one_after_the_other_so_that_few_encoder_outputs_are_parked() -> None:
    bench = Bench()
    bench.add("a", range(9), probes=(0, 4, 8), language=None)
    bench.add("b", range(9), probes=(0, 4, 8), language=None)

    assert bench.work(limit=4, outcome=probed) == [("a", 0), ("a", 4), ("a", 8), ("b", 0)]
    assert [event.job for event in bench.said(JobLanguage)] == ["a"]  # type: ignore[union-attr]


def test_an_english_only_model_needs_no_probe() -> None:
    bench = Bench(languages=("en",))
    bench.add("job", range(3), probes=(0, 1, 2), language=None)

    assert bench.events == [JobLanguage("job", "en", 1.0)]
    assert {row.language for row in bench.take().rows} == {"en"}


def test_multi_is_left_to_the_decoder_row_by_row() -> None:
    bench = Bench()
    bench.add("job", range(3), language="multi")

    batch = bench.take()

    assert {(row.language, row.key.probe) for row in batch.rows} == {(None, False)}
    assert bench.events == []


def test_a_named_language_is_not_told_back() -> None:
    bench = Bench()
    bench.add("job", [0], language="de")

    assert [row.language for row in bench.take().rows] == ["de"]
    assert bench.events == []


# -- retries -----------------------------------------------------------------------------------------------------------


def test_retries_of_several_jobs_are_gathered_and_go_when_the_oldest_has_waited_long_enough() -> None:
    # Given two jobs, each with a window to be retried, and fresh work without end
    bench = Bench()
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
    bench = Bench()
    bench.add("a", [0, 1])
    bench.work(outcome=again)
    bench.add("long", range(1000))

    assert bench.work(limit=2) == [("a", 0), ("a", 1)]


def test_retries_go_at_once_when_there_is_nothing_else_to_do() -> None:
    bench = Bench()
    bench.add("job", [0])
    bench.work(outcome=again)

    assert bench.work() == [("job", 0)]
    assert bench.finished() == [("job", 0)]


def test_retries_wait_while_a_batch_is_under_way_that_may_bring_company() -> None:
    # Given a retry, and another batch on the device
    bench = Bench()
    bench.add("a", [0])
    bench.add("b", [0])
    bench.work(limit=1, outcome=again)
    under_way = bench.take()

    # Then it waits
    assert bench.nothing_to_take()

    # And when the batch ends, both go
    bench.scheduler.give(under_way, [again(row) for row in under_way.rows])
    assert bench.work() == [("a", 0), ("b", 0)]


def test_an_urgent_retry_does_not_wait() -> None:
    bench = Bench()
    bench.add("job", [0])
    bench.work(outcome=lambda row: again(row, urgent=True))
    bench.add("long", range(1000))

    assert bench.work() == [("job", 0)]


def test_retries_at_different_temperatures_do_not_mix() -> None:
    bench = Bench()
    bench.add("job", [0, 1])
    bench.work(outcome=lambda row: again(row, 0.2 if row.window.index == 0 else 0.4))

    assert bench.work() == [("job", 0)]
    assert bench.work() == [("job", 1)]


def test_the_halves_of_a_split_window_go_first() -> None:
    # Given a job with more to come
    bench = Bench()
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
    bench = Bench()
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
    bench = Bench()
    bench.add("gone", range(5), probes=(0, 2), language=None)
    under_way = bench.take(limit=1)
    bench.scheduler.cancel("gone")
    bench.scheduler.give(under_way, [probed(row) for row in under_way.rows])

    assert bench.nothing_to_take()
    assert bench.said(JobLanguage) == []


def test_outcomes_of_a_cancelled_job_do_not_count_for_a_new_one_of_its_name() -> None:
    bench = Bench()
    bench.add("job", [0, 1])
    stale = bench.take()
    bench.scheduler.cancel("job")
    bench.add("job", [0, 1])
    bench.scheduler.give(stale, [done(stale.rows[0]), again(stale.rows[1])])

    assert bench.finished() == []
    assert bench.work() == [("job", 0), ("job", 1)]
    assert bench.nothing_to_take()


def test_cancelling_an_unknown_job_is_no_error() -> None:
    Bench().scheduler.cancel("never heard of")


def test_what_the_decoder_refuses_is_rejected_and_takes_no_part() -> None:
    bench = Bench()
    bench.add("job", [0], hotwords="reject")

    assert [(event.job, event.code) for event in bench.said(JobRejected)] == [("job", ErrorCode.UNSUPPORTED_OPTION)]  # type: ignore[union-attr]
    assert bench.nothing_to_take()


def test_a_job_rejected_later_is_dropped_and_told_once() -> None:
    bench = Bench()
    bench.add("job", [0, 1])
    bench.scheduler.reject("job", ErrorCode.INTERRUPTED, "its audio is gone")
    bench.scheduler.reject("job", ErrorCode.INTERRUPTED, "its audio is gone")

    assert bench.events == [JobRejected("job", ErrorCode.INTERRUPTED, "its audio is gone")]
    assert bench.nothing_to_take()


def test_a_batch_that_is_put_back_is_dealt_again_without_the_jobs_that_went_meanwhile() -> None:
    bench = Bench()
    bench.add("gone", [0])
    bench.add("kept", range(3))
    batch = bench.take(limit=2)
    bench.scheduler.cancel("gone")
    bench.scheduler.put_back(batch)

    assert bench.work() == [("kept", 0), ("kept", 1), ("kept", 2)]


def test_closing_wakes_whoever_waits_and_deals_nothing_out_any_more() -> None:
    # Given a thread that waits
    bench = Bench()
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
    bench = Bench()
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
    bench = Bench()
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
    bench = Bench()
    bench.add("job", range(3))
    assert bench.scheduler.stalled == 0.0
    hung = bench.take(limit=1)
    bench.time += 30.0
    bench.work(limit=1)
    bench.time += 30.0

    assert bench.scheduler.stalled == 60.0
    bench.scheduler.give(hung, [done(row) for row in hung.rows])
    assert bench.scheduler.stalled == 0.0


# -- suspects ----------------------------------------------------------------------------------------------------------


def under_way(bench: Bench) -> list[list[tuple[str, int]]]:
    return [list(batch) for batch in bench.beats[-1].under_way]


def test_beats_say_which_windows_are_under_way_the_oldest_batch_first() -> None:
    bench = Bench()
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
    bench = Bench(suspects=[[("a", 1), ("b", 0)], [("a", 0)]])
    bench.add("a", range(4))
    bench.add("b", range(2))

    # Then the others go first
    others = bench.take()
    assert sorted(names(others.rows)) == [("a", 2), ("a", 3), ("b", 1)]
    assert not others.alone
    # And the suspects wait until the device has nothing to do
    assert bench.nothing_to_take()
    bench.scheduler.give(others, [done(row) for row in others.rows])

    # Then a group goes, and while it does nothing else, even what is new
    suspects = bench.take()
    assert sorted(names(suspects.rows)) == [("a", 1), ("b", 0)]
    assert suspects.alone
    bench.add("c", [0])
    assert bench.nothing_to_take()
    bench.scheduler.give(suspects, [done(row) for row in suspects.rows])
    assert bench.work() == [("c", 0)]
    assert bench.work() == [("a", 0)]
    assert bench.nothing_to_take()
    assert len(bench.finished()) == 7


def test_suspects_that_have_waited_long_enough_go_first_until_none_is_left() -> None:
    # Given a device that is never idle, and suspects that have to be retried
    bench = Bench(suspects=[[("poor", 0)], [("poor", 1)]])
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
    bench = Bench(suspects=[[("job", 0)], [("job", 2)]])
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
    bench = Bench()
    bench.add("job", range(6))
    batch = bench.take(limit=4)

    bench.scheduler.suspect(batch, "it failed")

    assert bench.work() == [("job", 4), ("job", 5)]
    assert bench.work() == [("job", 0), ("job", 1)]
    assert bench.work() == [("job", 2), ("job", 3)]
    assert len(bench.finished()) == 6


def test_a_window_that_fails_by_itself_twice_costs_its_job_and_no_other() -> None:
    bench = Bench()
    bench.add("bad", range(3))
    bench.add("good", range(2))

    # When every batch with one window fails
    while (batch := bench.scheduler.take(4, timeout=0.0)) is not None:
        if ("bad", 1) in names(batch.rows):
            bench.scheduler.suspect(batch, "it failed")
        else:
            bench.scheduler.give(batch, [done(row) for row in batch.rows])

    (rejected,) = [event for event in bench.events if isinstance(event, JobRejected)]
    assert (rejected.job, rejected.code) == ("bad", ErrorCode.INFERENCE_FAILED)
    assert rejected.message.startswith("window 1, 10.0 s into the audio")
    assert [window for window in bench.finished() if window[0] == "good"] == [("good", 0), ("good", 1)]


def test_suspects_of_a_cancelled_job_are_not_dealt() -> None:
    bench = Bench()
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
    bench = Bench()

    bench.add("job", [0], hotwords="choke")

    (rejected,) = [event for event in bench.events if isinstance(event, JobRejected)]
    assert rejected.code == ErrorCode.INFERENCE_FAILED
    assert "ValueError: this simulated tokeniser" in rejected.message
