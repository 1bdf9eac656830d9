# SPDX-License-Identifier: Apache-2.0
"""A folder as store: `s3://bucket/key` is the file `bucket/key` in it."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from sqscribe.urls import split_s3
from stages.ports import StoredObject

__all__ = ["FolderStore"]

#: Files that are being written; no bucket's name begins with a dot.
_INCOMING = ".incoming"


class FolderStore:
    """Implements `stages.ports.Store`. Thread-safe.

    An object appears complete or not at all. `put_if_absent` holds between processes too, where the file system has
    hard links; `replace` holds within this process.

    Args:
        root: The folder; made with the first object.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()  # guards what stands between a look at it and the write

    def get(self, url: str) -> StoredObject | None:
        """The object, or None when there is none."""
        with self._errors("read", url):
            body = self._read(self._path(url))
        return None if body is None else StoredObject(body, _etag(body))

    def exists(self, url: str) -> bool:
        """Whether the object stands."""
        with self._errors("look for", url):
            return self._path(url).is_file()

    def put(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> None:  # noqa: ARG002 - files have neither
        """Writes the object whatever stands."""
        with self._errors("write", url), self._written(body) as file:
            path = self._path(url)
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                file.replace(path)

    def put_if_absent(
        self,
        url: str,
        body: bytes,
        content_type: str,  # noqa: ARG002 - as above
        *,
        temporary: bool = False,  # noqa: ARG002 - as above
    ) -> bool:
        """Writes the object unless one stands; False when one does."""
        with self._errors("write", url), self._written(body) as file:
            path = self._path(url)
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                return _link(file, path)

    def replace(
        self,
        url: str,
        body: bytes,
        content_type: str,  # noqa: ARG002 - as above
        etag: str,
        *,
        temporary: bool = False,  # noqa: ARG002 - as above
    ) -> bool:
        """Writes the object if the existing one still has this ETag; False otherwise."""
        with self._errors("write", url), self._written(body) as file:
            path = self._path(url)
            with self._lock:
                existing = self._read(path)
                if existing is None or _etag(existing) != etag:
                    return False
                file.replace(path)
                return True

    def delete(self, url: str) -> None:
        """Removes the object; it is no error when there is none."""
        with self._errors("delete", url):
            self._path(url).unlink(missing_ok=True)

    def keys(self, prefix: str) -> list[str]:
        """The addresses that begin with `prefix`, sorted."""
        bucket, start = split_s3(prefix)
        with self._errors("list", prefix):
            folder = self._root / bucket
            files = (path for path in folder.rglob("*") if path.is_file())
            keys = (path.relative_to(folder).as_posix() for path in files)
            return sorted(f"s3://{bucket}/{key}" for key in keys if key.startswith(start))

    def _path(self, url: str) -> Path:
        bucket, key = split_s3(url)
        if any(part in {"", ".", ".."} for part in key.split("/")):
            raise PermanentError(ErrorCode.OUTPUT_FORBIDDEN, f"{url} cannot be a file: a part of its key is no name")
        return self._root / bucket / key

    @staticmethod
    def _read(path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    @contextmanager
    def _written(self, body: bytes) -> Iterator[Path]:
        """A complete file beside the buckets, on their file system; gone in the end unless it was moved."""
        incoming = self._root / _INCOMING
        incoming.mkdir(parents=True, exist_ok=True)
        file = incoming / uuid.uuid4().hex
        try:
            file.write_bytes(body)
            yield file
        finally:
            file.unlink(missing_ok=True)

    @contextmanager
    def _errors(self, verb: str, url: str) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise PermanentError(
                ErrorCode.OUTPUT_FORBIDDEN, f"cannot {verb} {url} below {self._root}: {error}"
            ) from error
        except OSError as error:
            raise NodeFaultError(f"cannot {verb} {url} below {self._root}: {error}") from error


def _etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _link(file: Path, path: Path) -> bool:
    """Gives the file a second name unless that is taken."""
    try:
        path.hardlink_to(file)
    except FileExistsError:
        return False
    except OSError:
        # No hard links here, as on many network and desktop shares: then only this process' lock stands between.
        if path.exists():
            return False
        file.replace(path)
    return True
