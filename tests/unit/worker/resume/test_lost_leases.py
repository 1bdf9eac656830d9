# SPDX-License-Identifier: Apache-2.0
"""A worker that loses its lease after any single call: it writes, sends, deletes and releases nothing more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.leases import Lease
from worker.queues import Outgoing

# As in conftest.
INTERVAL = 60.0

READS = {"get", "exists", "keys", "receive"}


def success(world: Any, _tmp_path: Path) -> None:
    world.send(formats=("json", "srt", "txt"))


def failure(world: Any, tmp_path: Path) -> None:
    world.send(source=str(tmp_path / "gone.wav"))


def force(world: Any, _tmp_path: Path) -> None:
    world.send()
    world.worker(language="de").run()
    world.send(force=True)


def later_formats(world: Any, _tmp_path: Path) -> None:
    world.send()
    world.worker().run()
    world.send(formats=("json", "srt", "txt"))


def several_jobs(world: Any, tmp_path: Path) -> None:
    records = [
        {"job_id": "long", "source": str(world.recording)},
        {"job_id": "gone", "source": str(tmp_path / "gone.wav")},
        {"job_id": "bad"},
    ]
    world.queue.send(None, Outgoing(json.dumps(records)))


def handover(world: Any, _tmp_path: Path) -> None:
    world.send()
    world.interrupted(4)
    world.interrupted(2)


def unmarked_copy(world: Any, _tmp_path: Path) -> None:
    world.send({"sqscribe_origin": "m0", "sqscribe_generation": "1"})


WAYS = [success, failure, force, later_formats, several_jobs, handover, unmarked_copy]


def live(worker: Any) -> None:
    """Takes what is there, saves an increment, and publishes."""
    worker.take()
    if worker.pipeline._decoding.all():
        worker.decode(3)
        worker.pass_time(INTERVAL)
    worker.finish()
    worker.work()


def losing(worker: Any, number: int) -> None:
    """Has the queue refuse the worker's lease once it has made so many calls."""

    def lose() -> None:
        table = worker.components.leases
        if len(worker.wire.made) == number:
            with table._lock:
                for lease in list(table._leases.values()):
                    table._lose(lease, "the test says so")

    worker.wire.after_call = lose


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
def test_nothing_is_written_once_the_lease_is_lost(
    make_world: Any, tmp_path: Path, way: Callable[[Any, Path], None]
) -> None:
    def begin() -> Any:
        world = make_world(max_receives=4)
        way(world, tmp_path)
        return world

    undisturbed = begin().worker()
    live(undisturbed)
    calls = undisturbed.wire.made
    assert set(calls) - READS, "there is something to be stopped"
    # The message has no lease yet when the first call, which brings it, returns
    for number in range(2, len(calls)):
        world = begin()
        worker = world.worker()
        losing(worker, number)
        live(worker)
        assert len(worker.wire.made) >= number
        assert set(worker.wire.made[number:]) <= READS, (number, worker.wire.made)
        # Whoever gets the message next finishes
        worker.die()
        while len(world.queue):
            world.lapse()
            world.worker(most=10).run()
        assert json.loads(world.store.objects[f"{world.base}/result.json"])["origin"] in {"m0", "m1", "m2"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
def test_the_lease_is_asked_before_every_write(
    make_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[Any, Path], None]
) -> None:
    """What has lapsed, and is not lost, stops a write as well; see `Lease.fence`."""
    world = make_world(max_receives=4)
    way(world, tmp_path)
    worker = world.worker()
    fence = Lease.fence

    def noted(lease: Lease) -> None:
        fence(lease)
        worker.wire.made.append("fence")

    monkeypatch.setattr(Lease, "fence", noted)
    live(worker)
    made = worker.wire.made
    writes = [place for place, name in enumerate(made) if name in {"put", "put_if_absent", "replace", "send"}]
    assert writes
    assert [made[place - 1] for place in writes] == ["fence"] * len(writes), made
