# SPDX-License-Identifier: Apache-2.0
"""Rows: what the scheduler deals out and the decoder works on. Live in the inference process alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sqscribe.errors import ErrorCode
from stages.inference.engine.comparison import Comparison, Incomparable
from stages.inference.protocol import DecodeOptions, EngineInfo
from stages.values import Window, WindowResult

__all__ = [
    "Again",
    "Batch",
    "BatchKey",
    "EngineJob",
    "Finished",
    "JobRefused",
    "Outcome",
    "Probed",
    "Row",
    "WindowDecoder",
]


class BatchKey(NamedTuple):
    """Rows with the same key may share one `generate` call (CTranslate2's rules: see `whisper/decoder.py`).

    Attributes:
        probe: Rows that are only encoded and asked for their language.
        timestamps: Whether timestamp tokens are decoded.
        prompt_tokens: Length of the previous-text prompt as the decoder takes it.
        beam_size: 1 under sampling.
        temperature: 0 for beam search.
        frames: Mel frames that the encoder is shown; the outputs of a batch are one array.
        no_repeat_ngram_size: As in `DecodeOptions`, as are those that follow.
    """

    probe: bool
    timestamps: bool
    prompt_tokens: int
    beam_size: int
    temperature: float
    frames: int = 3000
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    suppress_numerals: bool = False

    @property
    def retry(self) -> bool:
        """Whether rows of this key have (most of them) been decoded before and may wait for company."""
        return self.temperature > 0


@dataclass(frozen=True, slots=True)
class EngineJob:
    """A job inside the engine.

    Attributes:
        prompt: Token ids of the previous-text prompt, `<|startofprev|>` included, padded; empty without one.
        prompt_text: The same as text, for telling an echo.
    """

    job_key: str
    pcm_path: str
    options: DecodeOptions
    prompt: tuple[int, ...]
    prompt_text: str


@dataclass(slots=True, eq=False)
class Row:
    """One window (or a part of one that was split) on its way to a text.

    Attributes:
        key: What it may share a batch with; the decoder sets it anew when the row goes round again.
        language: Settled code; None while it has to be detected.
        encoded: The encoder's output for this row once it exists.
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
    def kind(self) -> str:
        """`probe`, `decode` or `retry`."""
        if self.key.probe:
            return "probe"
        return "retry" if self.key.retry else "decode"


@dataclass(frozen=True, slots=True)
class Finished:
    """The window is done."""

    job_key: str
    result: WindowResult


@dataclass(frozen=True, slots=True)
class Probed:
    """The row's language was asked for; the row comes back with its encoder output.

    Attributes:
        probabilities: Whisper code to probability, of all the model's languages.
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
        """Takes a job in: tokenises its prompt, checks what the model can do."""

    def rows(self, job: EngineJob, windows: tuple[Window, ...], *, probe: bool, language: str | None) -> list[Row]:
        """Fresh rows for windows: to be probed, or to be decoded in `language` (None under `multi`)."""

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
