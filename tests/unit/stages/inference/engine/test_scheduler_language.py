# SPDX-License-Identifier: Apache-2.0
"""How the scheduler has a job's language found before the job is decoded."""

from __future__ import annotations

import pytest

from stages.inference.engine.job_state import mean_language
from stages.inference.engine.rows import Probed, Row
from stages.inference.protocol import (
    PROBE_WINDOWS,
    JobLanguage,
)
from worker.testing.scheduling import (
    SchedulerBench,
    names,
    probed,
    window,
)


def test_a_job_without_a_language_is_probed_before_any_of_it_is_decoded() -> None:
    # Given
    bench = SchedulerBench()
    bench.add("job", range(10), probes=(1, 5, 8), language=None)

    # When
    batch = bench.take()

    # Then its probes go, and nothing else
    assert names(batch.rows) == [("job", 1), ("job", 5), ("job", 8)]
    assert all(row.key.kind == "probe" and row.language is None for row in batch.rows)
    assert bench.nothing_to_take()

    # And when they have answered, the language is told before any window, and all rows are decoded in it
    bench.scheduler.give(batch, [probed(row) for row in batch.rows])
    assert bench.said(JobLanguage) == [JobLanguage("job", "de", 1.0)]
    batch = bench.take()
    assert names(batch.rows) == [("job", index) for index in (1, 5, 8, 0, 2, 3, 4, 6, 7, 9)]
    assert {row.language for row in batch.rows} == {"de"}
    assert [row.encoded for row in batch.rows[:3]] == ["encoder output"] * 3


def test_the_rest_waits_until_the_last_probe_has_answered() -> None:
    bench = SchedulerBench()
    bench.add("job", range(4), probes=(0, 3), language=None)
    bench.work(limit=1, outcome=probed)

    assert bench.work(limit=100, outcome=probed) == [("job", 3)]
    assert bench.work() == [("job", index) for index in (0, 3, 1, 2)]


def test_probes_weigh_as_much_as_they_hold_speech() -> None:
    # Given two windows of little speech that sound English, and one full of German
    bench = SchedulerBench()
    bench.add("job", [0], language="en")
    job = bench.take().rows[0].job
    rows = [Row(job, window(index, speech=speech), None, None) for index, speech in enumerate((1, 1, 8))]  # type: ignore[arg-type]
    english, german = {"en": 0.9, "de": 0.1}, {"en": 0.4, "de": 0.6}

    # When
    language, probability = mean_language([Probed(rows[2], german), Probed(rows[0], english), Probed(rows[1], english)])

    # Then
    assert language == "de"
    assert probability == pytest.approx((0.1 + 0.1 + 8 * 0.6) / 10)


def test_only_candidates_are_chosen_among_once_the_windows_are_summed_up() -> None:
    # Given a guest who speaks English in two windows of three, in a job that is German or French
    bench = SchedulerBench()
    bench.add("job", [0], language="en")
    job = bench.take().rows[0].job
    rows = [Row(job, window(index, speech=1.0), None, None) for index in range(3)]  # type: ignore[arg-type]
    english, german = {"en": 0.98, "de": 0.005, "fr": 0.015}, {"en": 0.0, "de": 0.95, "fr": 0.05}

    # When
    found = mean_language([Probed(rows[0], english), Probed(rows[1], english), Probed(rows[2], german)], ("fr", "de"))

    # Then the guest's windows say no more for French than that it is not likely either
    language, probability = found
    assert language == "de"
    assert probability == pytest.approx(0.96 / (0.96 + 0.08))


def test_a_job_is_decoded_in_one_of_its_candidates() -> None:
    bench = SchedulerBench()
    bench.add("job", range(2), probes=(0,), language=None, candidates=("fr", "de"))

    bench.work(outcome=lambda row: probed(row, "en"))

    assert bench.said(JobLanguage) == [JobLanguage("job", "de", 0.5)]


def test_windows_without_measured_speech_are_probed_all_the_same() -> None:
    bench = SchedulerBench()
    bench.add("job", [0], language="en")
    job = bench.take().rows[0].job

    assert mean_language([Probed(Row(job, window(0, speech=0), None, None), {"en": 0.2, "de": 0.8})]) == ("de", 0.8)  # type: ignore[arg-type]


def test_probes_that_are_done_already_are_left_out() -> None:
    bench = SchedulerBench()
    bench.add("job", [4, 5, 6], probes=(0, 2, 5), language=None)

    assert bench.work(outcome=probed) == [("job", 5)]


def test_where_all_probes_are_done_the_first_windows_are_asked() -> None:
    bench = SchedulerBench()
    bench.add("job", range(10, 30), probes=(0, 2, 5), language=None)

    assert bench.work(outcome=probed) == [("job", index) for index in range(10, 10 + PROBE_WINDOWS)]


def test_no_job_is_probed_more_than_five_times() -> None:
    bench = SchedulerBench()
    bench.add("job", range(1000), probes=tuple(range(1000)), language=None)

    assert len(bench.work(outcome=probed)) == PROBE_WINDOWS


def test_jobs_are_probed_one_after_the_other_so_that_few_encoder_outputs_are_parked() -> None:
    bench = SchedulerBench()
    bench.add("a", range(9), probes=(0, 4, 8), language=None)
    bench.add("b", range(9), probes=(0, 4, 8), language=None)

    assert bench.work(limit=4, outcome=probed) == [("a", 0), ("a", 4), ("a", 8), ("b", 0)]
    assert [event.job_key for event in bench.said(JobLanguage)] == ["a"]  # type: ignore[union-attr]


def test_an_english_only_model_needs_no_probe() -> None:
    bench = SchedulerBench(languages=("en",))
    bench.add("job", range(3), probes=(0, 1, 2), language=None)

    assert bench.events == [JobLanguage("job", "en", 1.0)]
    assert {row.language for row in bench.take().rows} == {"en"}


def test_multi_is_left_to_the_decoder_row_by_row() -> None:
    bench = SchedulerBench()
    bench.add("job", range(3), language="multi")

    batch = bench.take()

    assert {(row.language, row.key.kind) for row in batch.rows} == {(None, "decode")}
    assert bench.events == []


def test_a_named_language_is_not_told_back() -> None:
    bench = SchedulerBench()
    bench.add("job", [0], language="de")

    assert [row.language for row in bench.take().rows] == ["de"]
    assert bench.events == []
