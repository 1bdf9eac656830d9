# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError, SettingsFaultError, Witness
from worker.node.store_probe import StoreProbe
from worker.testing.store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def probe(store: MemoryStore) -> StoreProbe:
    return StoreProbe(store, "s3://bucket/out/")


def test_a_store_that_works_is_left_as_it_was(store: MemoryStore, probe: StoreProbe) -> None:
    assert probe.works(Witness.READ)
    assert store.writes == []
    assert probe.works(Witness.WRITE)
    assert store.objects == {}
    # Below the worker's own output, where it may write and delete anyway
    assert store.writes == ["s3://bucket/out/sqscribe-probe/checkpoint/probe.json"]


@pytest.mark.parametrize(
    "error", [NodeFaultError("away"), SettingsFaultError("gone"), PermanentError(ErrorCode.OUTPUT_FORBIDDEN, "no")]
)
def test_one_that_fails_does_not(store: MemoryStore, probe: StoreProbe, error: Exception) -> None:
    store.refuse("get", "out", error)
    store.refuse("put", "out", error)
    assert not probe.works(Witness.READ)
    assert not probe.works(Witness.WRITE)


def test_others_are_not_for_it_to_ask(store: MemoryStore, probe: StoreProbe) -> None:
    assert not probe.works(Witness.OTHERS)
    assert not probe.works(Witness.NOBODY)
    assert store.calls == []
