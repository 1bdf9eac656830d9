# SPDX-License-Identifier: Apache-2.0
"""What every store promises, the fake included; a store that has no maker here fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import worker.stores
from stages.ports import Store
from worker.aws import AwsClients
from worker.stores.folder import FolderStore
from worker.stores.s3 import S3Store
from worker.testing.store import MemoryStore


def s3(aws: Any, _folder: Path) -> Store:
    for name in (aws.name, f"{aws.name}-other"):
        aws.server.make_bucket(name)
    return S3Store(AwsClients().s3())


#: By its class: how a test gets an empty one, with the buckets `base` and `other`.
MAKERS: dict[type, Callable[[Any, Path], Store]] = {
    S3Store: s3,
    FolderStore: lambda _, folder: FolderStore(folder / "root"),
    MemoryStore: lambda _, _folder: MemoryStore(),
}


@pytest.fixture(params=MAKERS.values(), ids=[kind.__name__ for kind in MAKERS])
def store(request: pytest.FixtureRequest, aws: Any, tmp_path: Path) -> Store:
    made: Store = request.param(aws, tmp_path)
    return made


@pytest.fixture
def base(aws: Any) -> str:
    return f"s3://{aws.name}"


@pytest.fixture
def other(base: str) -> str:
    return f"{base}-other"


@pytest.fixture
def url(base: str) -> str:
    return f"{base}/out/job/result.json"


def test_every_store_is_tested() -> None:
    methods = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    modules = [import_module(f"worker.stores.{path.stem}") for path in Path(worker.stores.__path__[0]).glob("[!_]*.py")]
    kinds = {
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind is not Store and all(hasattr(kind, name) for name in methods)
    }
    assert kinds | {MemoryStore} == set(MAKERS)


def test_what_is_put_is_got(store: Store, url: str) -> None:
    assert store.get(url) is None
    assert not store.exists(url)
    store.put(url, b"one", "application/json")
    store.put(url, b"two", "application/json")
    standing = store.get(url)
    assert standing is not None
    assert standing.body == b"two"
    assert store.exists(url)


def test_the_first_to_put_if_absent_wins(store: Store, url: str) -> None:
    assert store.put_if_absent(url, b"one", "text/plain")
    assert not store.put_if_absent(url, b"two", "text/plain")
    standing = store.get(url)
    assert standing is not None
    assert standing.body == b"one"


def test_replace_needs_the_standing_etag(store: Store, url: str) -> None:
    assert not store.replace(url, b"new", "text/plain", "etag"), "nothing stands"
    assert not store.exists(url)
    store.put(url, b"old", "text/plain")
    standing = store.get(url)
    assert standing is not None
    assert not store.replace(url, b"new", "text/plain", "another")
    assert store.replace(url, b"new", "text/plain", standing.etag)
    assert not store.replace(url, b"newer", "text/plain", standing.etag), "the etag has changed"


def test_deleting_what_is_not_there_is_no_error(store: Store, url: str, other: str) -> None:
    store.put(url, b"x", "text/plain")
    store.delete(url)
    store.delete(url)
    store.delete(f"{other}/never/there")
    assert not store.exists(url)


def test_keys_are_sorted_and_below_the_prefix(store: Store, base: str, other: str) -> None:
    for key in ("a/2", "a/10", "a/b/c", "ab", "b"):
        store.put(f"{base}/{key}", b"", "text/plain")
    store.put(f"{other}/a/1", b"", "text/plain")
    assert store.keys(f"{base}/a/") == [f"{base}/a/10", f"{base}/a/2", f"{base}/a/b/c"]
    assert store.keys(f"{base}/a") == [*store.keys(f"{base}/a/"), f"{base}/ab"]
    assert len(store.keys(base)) == 5
