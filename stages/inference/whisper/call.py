# SPDX-License-Identifier: Apache-2.0
"""One call of CTranslate2's `generate`, as far as all of its rows have it in common; and a job's prompt.

Its rules: every row has as many previous-text tokens as the others, all rows decode timestamps or none does, and beam
width, temperature, penalties and suppressed tokens are the call's. Languages and tasks may differ.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from stages.inference.engine.rows import BatchKey, EngineJob, Row

__all__ = ["PROBE", "Call", "Prompt", "call_of", "prompt_of"]


class Call(NamedTuple):
    """What rows of one `generate` have in common: the terms of their `BatchKey`.

    Attributes:
        timestamps: Whether timestamp tokens are decoded.
        prompt_tokens: Length of the previous-text prompt as the decoder takes it.
        beam_size: 1 under sampling.
        temperature: 0 for beam search.
        no_repeat_ngram_size: As in `DecodeOptions`, as are those that follow.
    """

    timestamps: bool
    prompt_tokens: int
    beam_size: int
    temperature: float
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    suppress_numerals: bool = False

    @property
    def key(self) -> BatchKey:
        """Of rows that are decoded so. Those that are sampled have, most of them, been decoded before."""
        return BatchKey("retry" if self.temperature > 0 else "decode", self)


#: Of rows that are only encoded and asked for their language: nothing of their jobs' options matters yet.
PROBE = BatchKey("probe", Call(timestamps=False, prompt_tokens=0, beam_size=1, temperature=0.0))


class Prompt(NamedTuple):
    """What `EngineJob.own` is.

    Attributes:
        tokens: Ids of the previous-text prompt, `<|startofprev|>` included, padded; empty without one.
        text: The same as text, for telling an echo.
    """

    tokens: tuple[int, ...]
    text: str


def call_of(row: Row) -> Call:
    """How a row is decoded next."""
    return cast("Call", row.key.terms)


def prompt_of(job: EngineJob) -> Prompt:
    """A job's prompt."""
    return cast("Prompt", job.own)
