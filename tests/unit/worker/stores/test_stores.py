# SPDX-License-Identifier: Apache-2.0
"""What every store promises, and what each has of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from stages.ports import Store
from worker.stores.folder import FolderStore
from worker.testing.store import MemoryStore, StoreCall

URL = "s3://bucket/out/job/result.json"


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else FolderStore(tmp_path / "root")


def test_what_is_put_is_got(store: Store) -> None:
    assert store.get(URL) is None
    assert not store.exists(URL)
    store.put(URL, b"one", "application/json")
    store.put(URL, b"two", "application/json")
    standing = store.get(URL)
    assert standing is not None
    assert standing.body == b"two"
    assert store.exists(URL)


def test_the_first_to_put_if_absent_wins(store: Store) -> None:
    assert store.put_if_absent(URL, b"one", "text/plain")
    assert not store.put_if_absent(URL, b"two", "text/plain")
    standing = store.get(URL)
    assert standing is not None
    assert standing.body == b"one"


def test_of_many_at_once_one_puts_if_absent(store: Store) -> None:
    barrier, written = threading.Barrier(8), []

    def write(number: int) -> None:
        barrier.wait(5)
        written.append((store.put_if_absent(URL, b"%d" % number, "text/plain"), number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    (winner,) = [number for won, number in written if won]
    standing = store.get(URL)
    assert standing is not None
    assert standing.body == b"%d" % winner


def test_replace_needs_the_standing_etag(store: Store) -> None:
    assert not store.replace(URL, b"new", "text/plain", "etag"), "nothing stands"
    assert not store.exists(URL)
    store.put(URL, b"old", "text/plain")
    standing = store.get(URL)
    assert standing is not None
    assert not store.replace(URL, b"new", "text/plain", "another")
    assert store.replace(URL, b"new", "text/plain", standing.etag)
    assert not store.replace(URL, b"newer", "text/plain", standing.etag), "the etag has changed"


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.put(URL, b"x", "text/plain")
    store.delete(URL)
    store.delete(URL)
    store.delete("s3://other/never/there")
    assert not store.exists(URL)


def test_keys_are_sorted_and_below_the_prefix(store: Store) -> None:
    for key in ("a/2", "a/10", "a/b/c", "ab", "b"):
        store.put(f"s3://bucket/{key}", b"", "text/plain")
    store.put("s3://other/a/1", b"", "text/plain")
    assert store.keys("s3://bucket/a/") == ["s3://bucket/a/10", "s3://bucket/a/2", "s3://bucket/a/b/c"]
    assert store.keys("s3://bucket/a") == [*store.keys("s3://bucket/a/"), "s3://bucket/ab"]
    assert len(store.keys("s3://bucket")) == 5
    assert store.keys("s3://nobody/") == []


# -- folder ----------------------------------------------------------------------------------------------------------


def test_an_object_is_a_file_and_nothing_else_stays(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_if_absent(URL, b"one", "text/plain")
    store.put_if_absent(URL, b"two", "text/plain")
    store.replace(URL, b"three", "text/plain", "wrong")
    assert (tmp_path / "bucket/out/job/result.json").read_bytes() == b"one"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["result.json"]


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "a//b", "./a", "a/", ""])
def test_a_key_cannot_leave_the_folder(tmp_path: Path, key: str) -> None:
    store = FolderStore(tmp_path / "root")
    with pytest.raises(PermanentError) as refused:
        store.put(f"s3://bucket/{key}", b"x", "text/plain")
    assert refused.value.code is ErrorCode.OUTPUT_FORBIDDEN
    assert not (tmp_path / "outside").exists()


def test_without_hard_links_the_first_wins_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_self: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", unsupported)
    store = FolderStore(tmp_path)
    assert store.put_if_absent(URL, b"one", "text/plain")
    assert not store.put_if_absent(URL, b"two", "text/plain")
    assert (tmp_path / "bucket/out/job/result.json").read_bytes() == b"one"


def test_errors_of_the_file_system_say_who_is_at_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)

    def failing(error: OSError) -> Callable[..., int]:
        def write(_self: Path, _body: bytes) -> int:
            raise error

        return write

    monkeypatch.setattr(Path, "write_bytes", failing(OSError(28, "No space left on device")))
    with pytest.raises(NodeFaultError, match="No space left"):
        store.put(URL, b"x", "text/plain")
    monkeypatch.setattr(Path, "write_bytes", failing(PermissionError(13, "Permission denied")))
    with pytest.raises(PermanentError, match="output_forbidden"):
        store.put(URL, b"x", "text/plain")


# -- memory ----------------------------------------------------------------------------------------------------------


def test_the_store_in_memory_fails_as_told_and_keeps_a_log() -> None:
    store = MemoryStore({URL: b"standing"})
    store.script("put", NodeFaultError("away"))
    store.script("put", NodeFaultError("answer lost"), applied=True)
    with pytest.raises(NodeFaultError, match="away"):
        store.put(URL, b"1", "text/plain")
    assert store.objects == {URL: b"standing"}
    with pytest.raises(NodeFaultError, match="answer lost"):
        store.put(URL, b"2", "text/plain")
    assert store.objects == {URL: b"2"}
    store.put(URL, b"3", "text/vtt")
    assert store.calls == [StoreCall("put", URL)] * 3
    assert store.writes == [URL] * 3
    assert store.content_types == {URL: "text/vtt"}
