# SPDX-License-Identifier: Apache-2.0
"""Rows: what the scheduler deals out and the decoder works on. Live in the inference process alone."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from sqscribe.errors import ErrorCode
from stages.inference.engine.comparison import Comparison, Incomparable
from stages.inference.protocol import DecodeOptions, EngineInfo
from stages.values import Window, WindowResult

__all__ = [
    "Again",
    "Batch",
    "BatchKey",
    "BatchKind",
    "EngineJob",
    "Finished",
    "JobRefused",
    "Outcome",
    "Probed",
    "Row",
    "WindowDecoder",
]


#: `probe`: rows that are asked which language is spoken, and nothing else. `retry`: rows that have (most of them) been
#: decoded before, and may wait for company.
BatchKind = Literal["probe", "decode", "retry"]


class BatchKey(NamedTuple):
    """Rows with the same key may be worked on in common.

    Attributes:
        kind: What is done with them, as far as it matters to whoever deals them out.
        terms: What else they must have in common: the decoder's own, and only compared here.
    """

    kind: BatchKind
    terms: Hashable = ()


@dataclass(frozen=True, slots=True)
class EngineJob:
    """A job inside the engine.

    Attributes:
        own: What the decoder has made of its options, for itself alone.
    """

    job_key: str
    pcm_path: str
    options: DecodeOptions
    own: Any = None


@dataclass(slots=True, eq=False)
class Row:
    """One window (or a part of one that was split) on its way to a text.

    Attributes:
        key: What it may share a batch with; the decoder sets it anew when the row goes round again.
        language: Settled code; None while it has to be detected.
        encoded: The decoder's own: what it has computed of the row's audio and keeps on the device.
        state: The decoder's own: attempts so far, the best text, the split it belongs to.
    """

    job: EngineJob
    window: Window
    key: BatchKey
    language: str | None
    encoded: Any = None
    state: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows with one key that are worked on in common.

    Attributes:
        key: What all rows had in common when they were dealt out; the decoder may have set theirs anew since.
        began: When that was, on the scheduler's clock.
        exclusive: Whether they are suspects, with which no other batch is under way.
    """

    key: BatchKey
    rows: list[Row]
    began: float
    exclusive: bool = False

    @property
    def kind(self) -> BatchKind:
        """That of its key."""
        return self.key.kind


@dataclass(frozen=True, slots=True)
class Finished:
    """The window is done."""

    job_key: str
    result: WindowResult


@dataclass(frozen=True, slots=True)
class Probed:
    """The row's language was asked for; the row comes back with its encoder output.

    Attributes:
        probabilities: Language code to probability, of all the model's languages.
    """

    row: Row
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True)
class Again:
    """The window needs further decoding: one row to retry, or two halves of a split one.

    Attributes:
        reason: As in `WindowResult.retries`.
    """

    rows: tuple[Row, ...]
    reason: str


Outcome = Finished | Probed | Again


@dataclass(frozen=True, slots=True)
class JobRefused:
    """Why a job cannot be taken."""

    code: ErrorCode
    message: str


class WindowDecoder(Protocol):
    """What turns rows into texts: the Whisper decoder, or a simulated one. Called from several threads."""

    @property
    def info(self) -> EngineInfo:
        """What runs, and what it can do."""

    @property
    def parallel(self) -> int:
        """How many `run` calls should be under way at once (2 on a GPU, so that it never idles)."""

    def open(self, job_key: str, pcm_path: str, options: DecodeOptions) -> EngineJob | JobRefused:
        """Takes a job in: checks that the model can do it, and reads its options."""

    def rows(self, job: EngineJob, windows: tuple[Window, ...], *, probe: bool, language: str | None) -> list[Row]:
        """Fresh rows for windows: to be probed, or to be decoded in `language` (None under `multi`).

        No row is to be probed, and none is without a language, where `EngineInfo.detects_language` is false.
        """

    def settled(self, row: Row, language: str) -> Row:
        """A probed row, made ready to be decoded in the job's language, its encoder output kept."""

    def run(self, rows: list[Row]) -> list[Outcome]:
        """Works on rows that all have the same key; every row is accounted for in the outcomes.

        A window that was split is accounted for by its halves: its `Finished` comes with the last of them.
        Whatever it raises, the rows are fit for another try.
        """

    def relieve(self) -> None:
        """Gives memory of the device back that is not in use, after a batch that did not fit."""

    def compare(self, pcm_path: str, window: Window, language: str, text: str) -> Comparison | Incomparable:
        """Computes a window on the device and by other means; `language` and `text` are what `run` made of it."""
