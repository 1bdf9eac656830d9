# SPDX-License-Identifier: Apache-2.0
"""What the folder and the store in memory have of their own; what every store promises is in `tests/wire`."""

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


@pytest.mark.parametrize("kind", [FolderStore, lambda _: MemoryStore()], ids=["folder", "memory"])
def test_a_bucket_that_was_never_written_to_is_empty(tmp_path: Path, kind: Callable[[Path], Store]) -> None:
    assert kind(tmp_path).keys("s3://nobody/") == []


@pytest.mark.parametrize("kind", [FolderStore, lambda _: MemoryStore()], ids=["folder", "memory"])
def test_of_many_at_once_one_puts_if_absent(tmp_path: Path, kind: Callable[[Path], Store]) -> None:
    store = kind(tmp_path)
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
