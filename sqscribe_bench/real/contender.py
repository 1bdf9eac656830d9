# SPDX-License-Identifier: Apache-2.0
"""What is compared: sqscribe as it is, and faster-whisper in its two ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqscribe_bench.real.heard import Heard

__all__ = ["CONTENDERS", "ModelSetup", "QualityContender", "RecordingTask"]

CONTENDERS = ("sqscribe", "sequential", "batched")


@dataclass(frozen=True, slots=True)
class ModelSetup:
    """What all contenders run on.

    Attributes:
        model: Name or folder, as SQSCRIBE_MODEL.
        device: cpu or cuda.
        compute_type: As CTranslate2.
        batch_size: Windows of a batch.
    """

    model: str
    device: str = "cpu"
    compute_type: str = "int8"
    batch_size: int = 8


@dataclass(frozen=True, slots=True)
class RecordingTask:
    """A file and the options of a job, under the names that they have in a message."""

    path: Path
    options: Mapping[str, Any]

    @property
    def timed(self) -> bool:
        """Whether its words have times: a translation's are not in the order in which they were said."""
        return self.options.get("task") != "translate"


class QualityContender(Protocol):
    """Transcribes files."""

    def hear(self, tasks: Sequence[RecordingTask]) -> list[Heard]:
        """One transcript a task, in the same order."""
