# SPDX-License-Identifier: Apache-2.0
"""How cost grows, in words."""

from __future__ import annotations

from sqscribe_bench.scale.scale import Point, ScalePlan, verdicts


def jobs(size: int, cpu: float, own: float = 0.0) -> Point:
    return Point("jobs", size, jobs=size, audio_seconds=size, seconds=1.0, cpu_seconds=cpu, parts={"worker": own})


def test_cost_in_proportion_is_fine_and_so_is_less() -> None:
    assert verdicts([jobs(10, 1.0), jobs(100, 10.0), jobs(1000, 60.0)]) == ["jobs: CPU time grows no faster than size"]


def test_a_step_that_is_too_steep_is_named() -> None:
    (line,) = verdicts([jobs(10, 1.0), jobs(100, 10.0), jobs(1000, 1000.0)])
    assert line == "jobs: from 100 to 1000, CPU time grows with the power 2.00"


def test_so_is_one_of_the_worker_alone() -> None:
    (line,) = verdicts([jobs(100, 10.0, own=1.0), jobs(1000, 100.0, own=20.0)])
    assert line == "jobs: from 100 to 1000, the worker's own CPU time grows with the power 1.30"


def test_longer_recordings_cost_more_each_and_may() -> None:
    # Given an hour of audio in other pieces, at the same cost
    points = [Point("length", minutes, 60 // minutes, 3600.0, 10.0, 20.0) for minutes in (1, 15, 60)]
    assert verdicts(points) == ["length: CPU time grows no faster than size"]


def test_workers_that_get_in_each_others_way_are_named() -> None:
    points = [Point("workers", count, 10, 1000.0, seconds, 1.0) for count, seconds in ((1, 60.0), (2, 31.0), (3, 30.0))]
    assert verdicts(points) == ["workers: each of 3 workers has 67% of the speed of 1"]


def test_one_point_or_a_failed_one_says_nothing() -> None:
    assert verdicts([jobs(10, 1.0), Point("jobs", 100, failure="no"), Point("workers", 1)]) == []


def test_a_length_is_measured_on_as_much_audio_as_the_others() -> None:
    plan = ScalePlan((), (), (1.0, 15.0, 60.0), 60.0, (), "simulated:", 1, 1.0)

    assert [len(plan.of_length(minutes).recordings) for minutes in plan.minutes] == [60, 4, 1]
    assert {plan.of_length(minutes).seconds for minutes in plan.minutes} == {3600.0}
    assert len(plan.recordings) == 65
