# SPDX-License-Identifier: Apache-2.0
"""Released models and real recordings, as `make real` brings them; a test that needs what is not there is skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.contender import ModelSetup, RecordingTask
from sqscribe_bench.real.heard import Heard
from sqscribe_bench.real.ours import Sqscribe
from sqscribe_bench.real.packages import MODELS, Package
from sqscribe_bench.real.recordings import Recording, jfk, spoken

Hear = Callable[..., list[Heard]]
HearEach = Callable[[Sequence[tuple[Recording, Mapping[str, Any]]]], list[Heard]]


def _fetch_nothing(package: Package, _folder: Path) -> Path:
    """A test never goes to a registry by itself."""
    raise CannotBeHadError(f"{package.name} was not brought yet: `make real` does")


@pytest.fixture(scope="session")
def cache() -> Cache:
    return Cache(bring=_fetch_nothing)


@pytest.fixture(scope="session")
def english() -> tuple[Recording, ...]:
    """The English recordings, one sentence each."""
    try:
        return spoken("en")
    except CannotBeHadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kennedy(cache: Cache) -> Recording:
    try:
        return jfk(cache)
    except CannotBeHadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny_en(cache: Cache) -> Hear:
    """sqscribe with tiny.en: `tiny_en(recordings, **options)` gives one transcript a recording."""
    return _hear(cache, "tiny.en")


@pytest.fixture(scope="session")
def base(cache: Cache) -> Hear:
    """sqscribe with base, which knows 99 languages."""
    return _hear(cache, "base")


@pytest.fixture(scope="session")
def base_each(cache: Cache) -> HearEach:
    """The same, with options for each recording: one run of the worker, in batches across jobs."""
    engine = _engine(cache, "base")

    def hear(cases: Sequence[tuple[Recording, Mapping[str, Any]]]) -> list[Heard]:
        return engine.hear([RecordingTask(recording.path, options) for recording, options in cases])

    return hear


def _hear(cache: Cache, model: str) -> Hear:
    engine = _engine(cache, model)

    def hear(recordings: Sequence[Recording], **options: Any) -> list[Heard]:
        return engine.hear([RecordingTask(recording.path, options) for recording in recordings])

    return hear


def _engine(cache: Cache, model: str) -> Sqscribe:
    try:
        return Sqscribe(ModelSetup(str(cache.item(MODELS[model]))))
    except CannotBeHadError as error:
        pytest.skip(str(error))
