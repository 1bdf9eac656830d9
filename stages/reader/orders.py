# SPDX-License-Identifier: Apache-2.0
"""What the parent of readers is told, and what it tells of a reader's end: one message each, through sockets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["BEGUN", "KILL", "LOST", "MOST_BYTES", "Exit", "Order"]

#: Sent on a reader's own socket: end it; and from there: it runs.
KILL, BEGUN = b"K", b"B"
#: Longest message; a path has at most 4,096 bytes, and JSON may write six for one of them.
MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """A reader that is to be started. Three descriptors come with it: its output, its messages, its own socket.

    Attributes:
        task: What it is to read: `Task.text`.
        command: A program that takes the reader's place, and the task as its last argument; empty: none does.
        memory: Bytes of memory of its own that it may have.
        seconds: Of processor time that it may use.
    """

    task: str
    command: tuple[str, ...]
    memory: int
    seconds: int

    def pack(self) -> bytes:
        """As a message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, message: bytes) -> Order:
        """The parent's side of `pack`."""
        values = json.loads(message)
        return cls(**(values | {"command": tuple(values["command"])}))


@dataclass(frozen=True, slots=True)
class Exit:
    """How a reader ended.

    Attributes:
        returncode: Negative for a signal; None: it could not be started.
        cpu_seconds: That it used.
        peak: Most bytes of memory that it held at a time, the libraries that it shares with others among them.
        refused: Why it could not be started.
    """

    returncode: int | None
    cpu_seconds: float = 0.0
    peak: int = 0
    refused: str = ""

    def pack(self) -> bytes:
        """As a message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, message: bytes) -> Exit:
        """The worker's side of `pack`."""
        return cls(**json.loads(message))


#: The end of a reader whose parent is gone.
LOST = Exit(None)
