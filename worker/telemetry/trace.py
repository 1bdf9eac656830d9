# SPDX-License-Identifier: Apache-2.0
"""A trace: what each stage and the engine did, and when, one JSON line each; read by `sqscribe bench`."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["Span", "SpanKind", "Trace", "read_trace"]


class SpanKind(StrEnum):
    """What a span is about."""

    STAGE = "stage"  # a job was in a stage
    BATCH = "batch"  # the engine had a batch under way
    DEVICE = "device"  # the device computed


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took some time.

    Attributes:
        name: The stage's, or the batch's kind.
        start: Seconds of the monotonic clock, which all processes of a machine share.
        end: Likewise.
        job: The job's key within its worker; None of a batch.
        cpu: Seconds that the thread computed meanwhile, without its child processes; None where several had a hand in.
        windows: Of a batch.
        thread: Name of the thread that it ended on.
        process: Its id.
    """

    kind: SpanKind
    name: str
    start: float
    end: float
    job: str | None = None
    cpu: float | None = None
    windows: int | None = None
    thread: str = ""
    process: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


class Trace:
    """Adds spans to a file. Thread-safe, and several processes may write to one file: a line is one write.

    Args:
        path: Made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def add(
        self,
        kind: SpanKind,
        name: str,
        start: float,
        end: float,
        *,
        job: str | None = None,
        cpu: float | None = None,
        windows: int | None = None,
    ) -> None:
        """Writes a span down; see `Span`."""
        thread = threading.current_thread().name
        span = Span(kind, name, start, end, job, cpu, windows, thread, os.getpid())
        os.write(self._file, json.dumps(asdict(span), separators=(",", ":")).encode() + b"\n")


def read_trace(path: Path) -> list[Span]:
    """The spans of a file, in the order in which they ended."""
    lines = path.read_text("utf-8").splitlines()
    spans = [Span(**(entry := json.loads(line)) | {"kind": SpanKind(entry["kind"])}) for line in lines]
    return sorted(spans, key=lambda span: span.end)
