# SPDX-License-Identifier: Apache-2.0
"""A trace: what each stage and the engine did, and when, one JSON line each; `sqscribe_bench.lab.trace` reads it."""

from __future__ import annotations

import json
import os
import threading
from enum import StrEnum
from pathlib import Path

__all__ = ["SpanKind", "TraceWriter"]


class SpanKind(StrEnum):
    """What a span is about."""

    STAGE = "stage"  # a job was in a stage
    BATCH = "batch"  # the engine had a batch under way
    DEVICE = "device"  # the device computed


class TraceWriter:
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
        """Writes a span down.

        Args:
            kind: What it is about.
            name: The stage's, or the batch's kind.
            start: Seconds of the monotonic clock, which all processes of a machine share.
            end: Likewise.
            job: The job's key within its worker.
            cpu: Seconds that the thread computed meanwhile, without child processes; None where several had a hand in.
            windows: Of a batch.
        """
        span = {
            "kind": kind,
            "name": name,
            "job": job,
            "process": os.getpid(),
            "thread": threading.current_thread().name,
            "start": start,
            "end": end,
            "cpu": cpu,
            "windows": windows,
        }
        os.write(self._file, json.dumps(span, separators=(",", ":")).encode() + b"\n")
