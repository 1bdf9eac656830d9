# SPDX-License-Identifier: Apache-2.0
"""What the probes say of a worker's parts, of its start and end, and of outages elsewhere."""

from __future__ import annotations

import pytest

from worker.telemetry.health import ComponentState, Health


class Seconds:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.passed = 1000.0

    def __call__(self) -> float:
        return self.passed


@pytest.fixture
def now() -> Seconds:
    return Seconds()


@pytest.fixture
def health(now: Seconds) -> Health:
    """A worker that has started."""
    health = Health(now)
    health.started()
    return health


def test_a_worker_that_starts_lives_but_has_not_started_and_is_not_ready() -> None:
    health = Health()
    health.starting("loading the model")

    assert health.live().ok
    assert not health.startup().ok
    assert health.startup().reasons == ("loading the model",)
    assert not health.ready().ok
    assert health.ready().reasons == ("loading the model",)


def test_a_started_worker_answers_yes_to_all(health: Health) -> None:
    health.component("fetcher", stuck_after=10).idle()

    assert (health.startup().ok, health.live().ok, health.ready().ok) == (True, True, True)


def test_a_part_that_works_in_silence_is_stuck_until_its_next_sign(health: Health, now: Seconds) -> None:
    part = health.component("downloader-1", stuck_after=60)
    part.beat("decode job-1")

    now.passed += 60
    assert health.live().ok

    now.passed += 1
    assert not health.live().ok
    assert health.live().reasons == ("downloader-1 is stuck: no sign for 61 s (decode job-1)",)
    assert not health.ready().ok

    part.beat("decode job-1")
    assert health.live().ok


def test_a_part_that_waits_is_never_stuck(health: Health, now: Seconds) -> None:
    part = health.component("uploader-1", stuck_after=60)
    part.beat()
    part.idle()

    now.passed += 86_400

    assert health.live().ok


def test_dead_is_for_ever(health: Health) -> None:
    part = health.component("engine", stuck_after=60)
    part.dead("CUDA error: device lost")
    part.beat()
    part.end()

    assert not health.live().ok
    assert health.live().reasons == ("engine is dead: CUDA error: device lost",)


def test_a_part_that_was_started_again_takes_the_place_of_the_dead_one(health: Health) -> None:
    health.component("engine", stuck_after=60).dead("killed")

    health.component("engine", stuck_after=60).beat()

    assert health.live().ok


def test_a_part_that_ended_as_it_should_is_not_missed(health: Health, now: Seconds) -> None:
    part = health.component("downloader-1", stuck_after=60)
    part.beat()
    part.end()

    now.passed += 1000

    assert health.live().ok


def test_outages_elsewhere_cost_readiness_and_never_life(health: Health) -> None:
    health.outage("store", "timed out")
    health.outage("queue", "connection refused")

    assert health.live().ok
    assert health.startup().ok
    assert not health.ready().ok
    assert health.ready().reasons == ("queue: connection refused", "store: timed out")

    health.restored("queue")
    health.restored("store")
    health.restored("source")
    assert health.ready().ok


def test_a_draining_worker_lives_but_takes_no_more(health: Health) -> None:
    health.draining("SIGTERM")

    assert health.live().ok
    assert not health.ready().ok
    assert health.ready().reasons == ("SIGTERM",)


def test_the_status_lists_the_parts_by_name(health: Health, now: Seconds) -> None:
    health.component("b", stuck_after=5).beat("job-1")
    health.component("a", stuck_after=5)
    now.passed += 6

    first, second = health.components()

    assert (first.name, first.state, first.stuck) == ("a", ComponentState.IDLE, False)
    assert (second.name, second.state, second.doing, second.seconds, second.stuck) == (
        "b",
        ComponentState.BUSY,
        "job-1",
        6.0,
        True,
    )
