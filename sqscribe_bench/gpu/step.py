# SPDX-License-Identifier: Apache-2.0
"""A step of the measurement, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["Ended", "Outcome", "Step"]


class Outcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    FAILED = "failed"
    CUT = "cut off"  # at its limit; what it had found by then counts
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One program to run.

    Attributes:
        name: Unique; it is what `--only` takes.
        tells: What is known when it has ended, in a few words.
        arguments: What comes after `python -P`.
        limit: Seconds after which it is ended.
        least: Seconds without which it is not begun, since it would tell nothing.
        lines: File of JSON lines that it writes, if any.
        vital: Whether nothing is worth measuring where it ends with `ExitCode.UNFIT_NODE`.
        missing: Why it cannot be run here; None where it can.
    """

    name: str
    tells: str
    arguments: Sequence[str]
    limit: float
    least: float
    lines: Path | None = None
    vital: bool = False
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a step.

    Attributes:
        why: Why it was skipped or failed; empty otherwise.
        seconds: How long it took.
        found: The lines that it wrote.
        code: Its exit code; None where it has none.
        said: The last line that it printed.
    """

    name: str
    tells: str
    outcome: Outcome
    why: str = ""
    seconds: float = 0.0
    found: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    code: int | None = None
    said: str = ""
