# SPDX-License-Identifier: Apache-2.0
"""Tokens from encoder output: one `generate` call for rows that share a key, and what its figures say."""

from __future__ import annotations

from collections.abc import Sequence

import ctranslate2

from stages.inference.engine.rows import Row
from stages.inference.whisper.attempt import Attempt, average_logprob, compression_ratio
from stages.inference.whisper.call import Call, call_of, prompt_of
from stages.inference.whisper.encoder import Encoder
from stages.inference.whisper.fallback import BEST_OF
from stages.inference.whisper.vocabulary import Vocabulary

__all__ = ["MAX_NEW_TOKENS", "Generator"]

#: Tokens that a row may have: half of Whisper's positions, the rest being the prompt's.
MAX_NEW_TOKENS = 224
_MAX_LENGTH = 448
#: A beam search ends after this many times its width in finished hypotheses (src/decoding.cc, `BeamSearch::search`).
#: At 1, unlikely hypotheses that break off early can fill the quota while the likely one still runs, and words at the
#: end are lost; 2 costs a few steps.
_PATIENCE = 2


class Generator:
    """Decodes batches; holds no state. Any thread may call it.

    Args:
        whisper: The loaded model.
        encoder: Makes batches of encoder output.
        vocabulary: The model's.
        max_new_tokens: Tokens that a row may have.
    """

    def __init__(
        self, whisper: ctranslate2.models.Whisper, encoder: Encoder, vocabulary: Vocabulary, max_new_tokens: int
    ) -> None:
        self._whisper = whisper
        self._encoder = encoder
        self._vocabulary = vocabulary
        # The real cap is half of `max_length`, whatever the prompt: see `_cap`.
        self._max_length = min(_MAX_LENGTH, 2 * max_new_tokens)

    def attempts(self, rows: Sequence[Row]) -> list[Attempt]:
        """One attempt at each row; all of them have the same key."""
        call = call_of(rows[0])
        prompts = [self._prompt(row) for row in rows]
        if call.temperature > 0:
            # `sampling_topk` is 1 by default, which would make every temperature greedy.
            search = {"num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": call.temperature}
        else:
            search = {"patience": _PATIENCE}
        results = self._whisper.generate(
            self._encoder.batch([row.encoded for row in rows]),
            prompts,
            beam_size=call.beam_size,
            max_length=self._max_length,
            no_repeat_ngram_size=call.no_repeat_ngram_size,
            repetition_penalty=call.repetition_penalty,
            suppress_tokens=self._suppressed(call),
            return_scores=True,
            return_no_speech_prob=True,
            **search,
        )
        cap = self._cap(len(prompts[0]))
        return [self._attempt(result, call.temperature, cap) for result in results]

    def _suppressed(self, call: Call) -> list[int]:
        return [*self._vocabulary.suppressed, *(self._vocabulary.numerals if call.suppress_numerals else ())]

    def _prompt(self, row: Row) -> list[int]:
        assert row.language is not None  # noqa: S101 - settled or detected before
        previous = prompt_of(row.job).tokens if call_of(row).prompt_tokens else ()
        start = self._vocabulary.start(row.language, row.job.options.task)
        ending = () if call_of(row).timestamps else (self._vocabulary.no_timestamps,)
        return [*previous, *start, *ending]

    def _cap(self, prompt_tokens: int) -> int:
        """Tokens after which CTranslate2 stops a row (src/models/whisper.cc, `generate`)."""
        return min(self._max_length // 2, self._max_length - (prompt_tokens - 1))

    def _attempt(self, result: ctranslate2.models.WhisperGenerationResult, temperature: float, cap: int) -> Attempt:
        tokens = tuple(result.sequences_ids[0])
        text = self._vocabulary.text(tokens).strip()
        return Attempt(
            tokens=tokens,
            text=text,
            avg_logprob=average_logprob(result.scores[0], len(tokens)),
            compression_ratio=compression_ratio(text),
            no_speech_prob=result.no_speech_prob,
            temperature=temperature,
            # End-of-text is not among the tokens, so a row that wrote it has fewer than the cap.
            truncated=len(tokens) >= cap,
        )
