# SPDX-License-Identifier: Apache-2.0
"""A worker whose downloaders have all met sources that do not get on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from stages.fetch import Lanes
from worker.outcomes import Stage
from worker.testing.media_server import MediaServer
from worker.testing.waiting import eventually
from worker.testing.world import World


def test_the_others_get_on_and_the_slow_ones_lose_nothing(
    make: Callable[..., World], media: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that finds out soon which downloads crawl, and as many such sources as it has downloaders
    monkeypatch.setattr("worker.build.Lanes", partial(Lanes, period=0.5))
    world = make(downloaders=2)
    for number in range(2):
        world.send({"source": media.endless, "job_id": f"slow-{number}"})
    world.start()
    eventually(lambda: len(world.components.pipeline.jobs.within(Stage.FETCH)) == 2)
    # When good ones come
    for number in range(5):
        world.send({"source": media.url("hello.wav"), "job_id": f"good-{number}"})
    # Then they are done while the slow ones still are where they were
    eventually(lambda: all(world.status(f"good-{number}") == "succeeded" for number in range(5)), 10)
    assert world.components.lanes.slow == 2
    assert len(world.components.pipeline.jobs.within(Stage.FETCH)) == 2
    assert world.released() == []
