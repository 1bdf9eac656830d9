# SPDX-License-Identifier: Apache-2.0
"""What holds for every test."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine's load, not about the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

#: Locked in turns by the processes that run tests beside each other: shared by most, held alone by the `undisturbed`.
ROOM = Path(__file__)
#: Held while one waits for the room, so that others do not slip in before it for ever.
DOOR = ROOM.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Lets a test that is marked `undisturbed` run while no other does, its fixtures included."""
    with ExitStack() as stack:
        if "PYTEST_XDIST_WORKER" in os.environ:
            alone = item.get_closest_marker("undisturbed") is not None
            with locked(DOOR, fcntl.LOCK_EX):
                stack.enter_context(locked(ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        return (yield)


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """Holds a lock on a file or folder that there is anyway."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
