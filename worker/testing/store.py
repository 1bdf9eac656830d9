# SPDX-License-Identifier: Apache-2.0
"""A store in memory that fails as a test tells it to."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sqscribe.urls import split_s3
from stages.ports import StoredObject

__all__ = ["MemoryStore", "StoreCall"]


@dataclass(frozen=True, slots=True)
class StoreCall:
    """One call: the method's name and its address or prefix."""

    operation: str
    url: str


class MemoryStore:
    """Implements `stages.ports.Store`. Thread-safe.

    Args:
        objects: What it holds at first, by address.
    """

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._objects = dict(objects or {})
        self._content_types: dict[str, str] = {}
        self._temporary: set[str] = set()
        self._calls: list[StoreCall] = []
        self._faults: dict[str, deque[tuple[Exception, bool]]] = {}
        self._refusals: dict[tuple[str, str], Exception] = {}

    # -- for the test ----------------------------------------------------------------------------------------------

    def script(self, operation: str, error: Exception, *, times: int = 1, applied: bool = False) -> None:
        """The next calls of that method raise the error.

        Args:
            operation: The method's name.
            error: What is raised.
            times: How often.
            applied: Whether the call has its effect first: only its answer is lost.
        """
        with self._lock:
            self._faults.setdefault(operation, deque()).extend([(error, applied)] * times)

    def refuse(self, operation: str, part: str, error: Exception | None) -> None:
        """Every call of that method on an address that holds `part` raises the error; None: no longer."""
        with self._lock:
            self._refusals.pop((operation, part), None)
            if error is not None:
                self._refusals[operation, part] = error

    @property
    def objects(self) -> dict[str, bytes]:
        """What it holds, by address."""
        with self._lock:
            return dict(self._objects)

    @property
    def content_types(self) -> dict[str, str]:
        """Content types of what was written, by address."""
        with self._lock:
            return dict(self._content_types)

    @property
    def temporary(self) -> set[str]:
        """Addresses of the objects that were written as temporary."""
        with self._lock:
            return self._temporary & self._objects.keys()

    @property
    def calls(self) -> list[StoreCall]:
        """Every call so far, failed ones too, in order."""
        with self._lock:
            return list(self._calls)

    @property
    def writes(self) -> list[str]:
        """Addresses of every call that would write, in order."""
        writers = {"put", "put_if_absent", "replace"}
        return [call.url for call in self.calls if call.operation in writers]

    # -- Store -----------------------------------------------------------------------------------------------------

    def get(self, url: str) -> StoredObject | None:
        """The object, or None when there is none."""
        with self._lock:
            self._meet("get", url)
            body = self._objects.get(url)
            return None if body is None else StoredObject(body, _etag(body))

    def exists(self, url: str) -> bool:
        """Whether there is such an object."""
        with self._lock:
            self._meet("exists", url)
            return url in self._objects

    def put(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> None:
        """Writes the object, over another one if need be."""
        self._write("put", url, body, content_type, temporary, holds=lambda _existing: True)

    def put_if_absent(self, url: str, body: bytes, content_type: str, *, temporary: bool = False) -> bool:
        """Writes the object unless there is one; False when there is."""
        return self._write("put_if_absent", url, body, content_type, temporary, holds=lambda existing: existing is None)

    def replace(self, url: str, body: bytes, content_type: str, etag: str, *, temporary: bool = False) -> bool:
        """Writes the object if the existing one still has this ETag; False otherwise."""
        return self._write("replace", url, body, content_type, temporary, holds=lambda existing: existing == etag)

    def delete(self, url: str) -> None:
        """Removes the object; it is no error when there is none."""
        with self._lock:
            error = self._meet("delete", url)
            self._objects.pop(url, None)
            if error:
                raise error

    def keys(self, prefix: str) -> list[str]:
        """The addresses that begin with `prefix`, sorted."""
        with self._lock:
            self._meet("keys", prefix)
            bucket = split_s3(prefix).bucket
            return sorted(url for url in self._objects if split_s3(url).bucket == bucket and url.startswith(prefix))

    def _write(
        self,
        operation: str,
        url: str,
        body: bytes,
        content_type: str,
        temporary: bool,
        holds: Callable[[str | None], bool],
    ) -> bool:
        with self._lock:
            error = self._meet(operation, url)
            existing = self._objects.get(url)
            written = holds(None if existing is None else _etag(existing))
            if written:
                self._objects[url] = body
                self._content_types[url] = content_type
                (self._temporary.add if temporary else self._temporary.discard)(url)
            if error:
                raise error
            return written

    def _meet(self, operation: str, url: str) -> Exception | None:
        """Notes the call and raises what is scripted; gives back an error that is to be raised after the effect."""
        self._calls.append(StoreCall(operation, url))
        for (method, part), refusal in self._refusals.items():
            if method == operation and part in url:
                raise refusal
        faults = self._faults.get(operation)
        if not faults:
            return None
        error, applied = faults.popleft()
        if not applied:
            raise error
        return error


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'
