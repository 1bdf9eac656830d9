# SPDX-License-Identifier: Apache-2.0
"""The whole worker in this process, around a fake engine, queue and store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stages.fetch import FetchLimits
from worker.node.faults import NodeFaults
from worker.testing.media_server import MediaServer
from worker.testing.world import World


@pytest.fixture(scope="module")
def media() -> Iterator[MediaServer]:
    """The bundled clips over HTTP."""
    with MediaServer() as server:
        yield server


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers wait for less before they try again what failed."""
    monkeypatch.setattr("worker.build.FetchLimits", partial(FetchLimits, backoff=0.01))
    monkeypatch.setattr("worker.build.NodeFaults", partial(NodeFaults, first=0.05))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes workers, which end with the test."""
    made: list[World] = []

    def make(**options: Any) -> World:
        made.append(World(tmp_path / "scratch", **options))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    """A worker as it is by default."""
    return make()
