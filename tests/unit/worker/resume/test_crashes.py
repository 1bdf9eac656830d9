# SPDX-License-Identifier: Apache-2.0
"""A worker that is killed after any single call, and the ones that come after it."""

from __future__ import annotations

import math
from typing import Any

# As in conftest.
WINDOWS = 20
INTERVAL = 60.0


def eventful_life(worker: Any) -> None:
    """Takes what is there, saves two increments if there is time for it, and publishes."""
    worker.take()
    for _ in range(2):
        if worker.pipeline._decoding.all():
            worker.decode(3)
            worker.pass_time(INTERVAL)
    worker.finish()


def test_a_crash_after_any_single_call_loses_at_most_one_interval(make_world: Any, expected: bytes) -> None:
    """Whatever call is a worker's last, the next one finishes, and decodes at most what was not saved."""
    undisturbed = make_world()
    undisturbed.send()
    points = len(undisturbed.until_a_crash(eventful_life, math.inf).wire.made)
    assert points > 12
    for calls in range(1, points):
        world = make_world()
        world.send()
        first = world.until_a_crash(eventful_life, calls)
        second = world.worker()
        second.take()
        if second.components.leases.count:
            second.finish()
        assert world.transcript == expected, first.wire.made
        assert world.result()["status"] == "succeeded", first.wire.made
        assert len(world.queue) == 0, first.wire.made
        assert first.decoded + sum(second.submitted) <= WINDOWS + 3 or first.decoded == WINDOWS, first.wire.made


def test_a_crash_after_any_single_call_of_a_handover_loses_nothing(make_world: Any, expected: bytes) -> None:
    """The same at the last receive but one: old message and copy, in whichever order they come, end in one result."""

    def begun() -> Any:
        world = make_world(max_receives=4)
        world.send()
        world.interrupted(4)
        world.interrupted(2)
        return world

    undisturbed = begun()
    wire = undisturbed.until_a_crash(eventful_life, math.inf).wire
    assert "send" in wire.made
    for calls in range(1, len(wire.made)):
        world = begun()
        world.until_a_crash(eventful_life, calls)
        decoded = 0
        for _ in range(4):
            if not len(world.queue):
                break
            worker = world.worker(most=2)
            worker.run()
            decoded += worker.decoded
        assert len(world.queue) == 0, wire.made[:calls]
        assert len(world.dead_letters) == 0, wire.made[:calls]
        assert world.transcript == expected, wire.made[:calls]
        assert decoded <= 2 * (WINDOWS - 6), wire.made[:calls]
