# SPDX-License-Identifier: Apache-2.0
"""The access log: one line of JSON for every call, in the order in which calls had their effects."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Access", "AccessLog", "Entry", "read_log"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a call did to one message.

    Attributes:
        id: The message's id; None for a receipt that no message has.
        code: Why it was refused; None when it was granted.
        stale: Whether a delete was granted that removed nothing.
        seconds: How long the message is hidden from now on.
        count: How often it was received so far.
    """

    id: str | None
    code: str | None = None
    stale: bool = False
    seconds: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """One call.

    Attributes:
        number: Its place in the log, from 1.
        began: Unix time at which it arrived.
        ended: Unix time of its effect.
        caller: The access key that signed it.
        operation: AWS's name for it.
        resource: The queue's name, or `bucket/key`.
        status: HTTP status of the emulator; None for a call that never got there.
        fault: `call_fault.Kind` of what the caller met; None when nothing went wrong.
        answered: Whether the caller got the emulator's answer.
        condition: The condition of a conditional write.
        sha256: Digest of a body that was written.
        body: The body of a `result.json`, or of a message that was sent.
        attributes: The attributes of that message.
        entries: The messages that the call was about.
    """

    number: int
    began: float
    ended: float
    caller: str
    operation: str
    resource: str
    status: int | None = None
    fault: str | None = None
    answered: bool = True
    condition: str | None = None
    sha256: str | None = None
    body: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the call had its effect."""
        return self.status is not None and self.status < 300


class AccessLog:
    """Writes the log. Thread-safe; a line is in the file when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()  # guards _file and _number
        self._number = 0
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, **facts: Any) -> None:
        """Adds a call; `facts` are the fields of `Access` except its number."""
        with self._lock:
            self._number += 1
            access = Access(number=self._number, **facts)
            line = {name: value for name, value in asdict(access).items() if value not in (None, (), {})}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


def read_log(path: Path) -> Iterator[Access]:
    """Reads the calls of a log, in order; one that is being written at this moment is left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            facts = json.loads(line)
            entries = tuple(Entry(**entry) for entry in facts.pop("entries", ()))
            yield Access(entries=entries, **facts)
