# SPDX-License-Identifier: Apache-2.0
"""The Whisper decoder: rows in, texts with times out.

CTranslate2's rules for one `generate` call, which `BatchKey` keeps: every row has as many previous-text tokens as
the others, all rows decode timestamps or none does, and beam width and temperature are the call's. Languages and
tasks may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import ctranslate2

from sqscribe.errors import ErrorCode
from stages.inference.engine.rows import Again, BatchKey, EngineJob, Finished, Outcome, Probed, Rejected, Row
from stages.inference.protocol import DecodeOptions, EngineInfo, EngineSettings
from stages.inference.whisper.aligner import Aligner, Spoken
from stages.inference.whisper.attempt import Attempt, average_logprob, compression_ratio
from stages.inference.whisper.audio import read_window
from stages.inference.whisper.encoder import Encoder
from stages.inference.whisper.fallback import BEST_OF, Judge, Retry, RetryUnprompted, Take, decide
from stages.inference.whisper.features import FRAMES, frames_to_encode
from stages.inference.whisper.language import detect_languages, most_likely
from stages.inference.whisper.model import LoadedModel, load_model
from stages.inference.whisper.split import (
    Half,
    Heard,
    Join,
    cut_window,
    may_split,
    missing_speech,
    quietest_point,
)
from stages.inference.whisper.timestamps import parse_timestamps
from stages.inference.whisper.vocabulary import MAX_PROMPT_TOKENS, Vocabulary
from stages.values import SAMPLE_RATE, RawSegment, RawWord, Window, WindowResult

__all__ = ["MAX_NEW_TOKENS", "WhisperDecoder"]

#: Tokens that a row may have: half of Whisper's positions, the rest being the prompt's.
MAX_NEW_TOKENS = 224
_MAX_LENGTH = 448
#: A beam search ends after this many times its width in finished hypotheses (src/decoding.cc, `BeamSearch::search`).
#: At 1, unlikely hypotheses that break off early can fill the quota while the likely one still runs, and words at the
#: end are lost; 2 costs a few steps.
_PATIENCE = 2
#: Rows of all jobs are probed together: nothing of their options matters yet.
_PROBE = BatchKey(probe=True, timestamps=False, prompt_tokens=0, beam_size=1, temperature=0.0)


@dataclass(frozen=True, slots=True)
class RowState:
    """A row's history. Replaced, never changed, and only once a batch is through: a failed batch can be repeated.

    Attributes:
        attempts: Those with the present prompt, in order of temperature.
        retries: Reasons of all further decodes.
        unprompted: Why the prompt was taken away.
        language_probability: Of the row's own detection under `multi`.
        depth: How often the window was halved.
        half: Which part of which split this row is.
    """

    attempts: tuple[Attempt, ...] = ()
    retries: tuple[str, ...] = ()
    unprompted: str | None = None
    language_probability: float | None = None
    depth: int = 0
    half: Half | None = None


class WhisperDecoder:
    """Decodes rows on a CTranslate2 model: the real `stages.inference.engine.rows.Decoder`.

    `run` may be called by `parallel` threads at once.

    Args:
        model: The loaded model.
        max_new_tokens: Tokens that a row may have; rows that need more are split.
        judge: Says what becomes of each attempt; any thread may ask.
    """

    def __init__(self, model: LoadedModel, *, max_new_tokens: int = MAX_NEW_TOKENS, judge: Judge = decide) -> None:
        self._whisper = model.whisper
        self._info = model.info
        self._parallel = model.parallel
        self._vocabulary: Vocabulary = model.vocabulary
        self._encoder = Encoder(model.whisper, model.device)
        self._aligner = Aligner(model.whisper, self._encoder, model.vocabulary)
        # The real cap is half of `max_length`, whatever the prompt: see `_cap`.
        self._max_length = min(_MAX_LENGTH, 2 * max_new_tokens)
        self._judge = judge

    @classmethod
    def load(cls, settings: EngineSettings) -> WhisperDecoder:
        """Loads the model that the settings name.

        Raises:
            UnfitNodeError: The device, a library or the model cannot be had.
        """
        return cls(load_model(settings))

    @property
    def info(self) -> EngineInfo:
        """What runs, and what it can do."""
        return self._info

    @property
    def parallel(self) -> int:
        """How many `run` calls should be under way at once."""
        return self._parallel

    def open(self, key: str, pcm_path: str, options: DecodeOptions) -> EngineJob | Rejected:
        """Takes a job in: tokenises its prompt, checks what the model can do."""
        info = self._info
        if options.task == "translate" and not info.can_translate:
            return Rejected(
                ErrorCode.UNSUPPORTED_OPTION,
                f"task: model {info.name} cannot translate (it is English-only, or its decoder is pruned); use a full "
                "multilingual model such as large-v3",
            )
        if options.language == "multi" and len(info.languages) == 1:
            return Rejected(ErrorCode.UNSUPPORTED_OPTION, f"language: model {info.name} knows {info.languages[0]} only")
        if options.language not in (None, "multi", *info.languages):
            return Rejected(
                ErrorCode.UNSUPPORTED_OPTION, f"language: model {info.name} does not know {options.language!r}"
            )
        prompt = self._vocabulary.prompt(options.initial_prompt, options.hotwords)
        if len(prompt) - 1 > MAX_PROMPT_TOKENS:
            return Rejected(
                ErrorCode.BAD_MESSAGE,
                f"initial_prompt, hotwords: {len(prompt) - 1} tokens together; at most {MAX_PROMPT_TOKENS} fit",
            )
        return EngineJob(key, pcm_path, options, prompt, self._vocabulary.text(prompt))

    def rows(self, job: EngineJob, windows: tuple[Window, ...], *, probe: bool, language: str | None) -> list[Row]:
        """Fresh rows for windows: to be probed, or to be decoded in `language` (None under `multi`)."""
        return [
            Row(
                job,
                window,
                _PROBE._replace(frames=self._frames(window)) if probe else self._key(job, window, len(job.prompt)),
                language,
                state=RowState(),
            )
            for window in windows
        ]

    def settled(self, row: Row, language: str) -> Row:
        """A probed row, made ready to be decoded in the job's language, its encoder output kept."""
        row.key = self._key(row.job, row.window, len(row.job.prompt))
        row.language = language
        return row

    def run(self, rows: list[Row]) -> list[Outcome]:
        """Works on rows that all have the same key.

        Raises:
            FileNotFoundError: A job's PCM file is gone.
        """
        self._encode(rows)
        if rows[0].key.probe:
            return self._probe(rows)
        self._detect(rows)
        attempts = self._generate(rows)
        histories = [(*row.state.attempts, attempt) for row, attempt in zip(rows, attempts, strict=True)]
        decisions = [
            self._judge(
                history,
                row.window.speech / SAMPLE_RATE,
                row.job.prompt_text if row.key.prompt_tokens else None,
                row.state.unprompted,
            )
            for row, history in zip(rows, histories, strict=True)
        ]
        taken = [(row, taken) for row, taken in zip(rows, decisions, strict=True) if isinstance(taken, Take)]
        heard = iter(self._hear(taken))
        # Copies need memory, of which there may be none left. So far nothing is changed that another try would miss.
        for row, decision in zip(rows, decisions, strict=True):
            if not isinstance(decision, Take):
                row.encoded = row.encoded.alone()
        outcomes: list[Outcome] = []
        for row, history, decision in zip(rows, histories, decisions, strict=True):
            match decision:
                case Retry(temperature, reason):
                    key = row.key._replace(temperature=temperature, beam_size=1)
                    outcomes.append(self._again(row, key, reason, history, row.state.unprompted))
                case RetryUnprompted(reason):
                    outcomes.append(self._again(row, self._key(row.job, row.window, 0), reason, (), reason))
                case Take():
                    outcomes += self._conclude(row, decision, next(heard))
        return outcomes

    def relieve(self) -> None:
        """Gives back what torch keeps for later; CTranslate2 cannot use it otherwise."""
        self._encoder.relieve()

    def _frames(self, window: Window) -> int:
        return frames_to_encode(window.samples) if self._info.short_encode else FRAMES

    def _key(self, job: EngineJob, window: Window, prompt_tokens: int) -> BatchKey:
        return BatchKey(
            probe=False,
            timestamps=job.options.task == "translate" or not self._info.can_align,
            prompt_tokens=prompt_tokens,
            beam_size=job.options.beam_size,
            temperature=0.0,
            frames=self._frames(window),
        )

    def _encode(self, rows: Sequence[Row]) -> None:
        fresh = [row for row in rows if row.encoded is None]
        if not fresh:
            return
        samples = [read_window(row.job.pcm_path, row.window) for row in fresh]
        for row, encoded in zip(fresh, self._encoder.encode(samples, rows[0].key.frames), strict=True):
            row.encoded = encoded

    def _languages(self, rows: Sequence[Row]) -> list[dict[str, float]]:
        encoded = self._encoder.batch([row.encoded for row in rows])
        return detect_languages(self._whisper, encoded, len(rows), self._info.languages)

    def _probe(self, rows: Sequence[Row]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for row, probabilities in zip(rows, self._languages(rows), strict=True):
            row.encoded = row.encoded.alone()
            outcomes.append(Probed(row, probabilities))
        return outcomes

    def _detect(self, rows: Sequence[Row]) -> None:
        unknown = [row for row in rows if row.language is None]
        if not unknown:
            return
        for row, probabilities in zip(unknown, self._languages(unknown), strict=True):
            row.language, probability = most_likely(probabilities)
            row.state = replace(row.state, language_probability=probability)

    def _generate(self, rows: Sequence[Row]) -> list[Attempt]:
        key = rows[0].key
        prompts = [self._prompt(row) for row in rows]
        if key.temperature > 0:
            # `sampling_topk` is 1 by default, which would make every temperature greedy.
            search = {"num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": key.temperature}
        else:
            search = {"patience": _PATIENCE}
        results = self._whisper.generate(
            self._encoder.batch([row.encoded for row in rows]),
            prompts,
            beam_size=key.beam_size,
            max_length=self._max_length,
            suppress_tokens=list(self._vocabulary.suppressed),
            return_scores=True,
            return_no_speech_prob=True,
            **search,
        )
        cap = self._cap(len(prompts[0]))
        return [self._attempt(result, key.temperature, cap) for result in results]

    def _prompt(self, row: Row) -> list[int]:
        assert row.language is not None  # noqa: S101 - settled or detected before
        previous = row.job.prompt if row.key.prompt_tokens else ()
        start = self._vocabulary.start(row.language, row.job.options.task)
        ending = () if row.key.timestamps else (self._vocabulary.no_timestamps,)
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

    def _hear(self, taken: Sequence[tuple[Row, Take]]) -> list[Heard]:
        """Texts with times, and whether they are all that was said."""
        if taken and not taken[0][0].key.timestamps:
            words = self._aligner.words(
                [
                    Spoken(
                        row.encoded,
                        self._vocabulary.text_tokens(take.attempt.tokens),
                        row.language or "",
                        row.window.seconds,
                    )
                    for row, take in taken
                ]
            )
            return [
                _heard(row, take, own, (), own[-1].end if own else 0.0)
                for (row, take), own in zip(taken, words, strict=True)
            ]
        heard = []
        for row, take in taken:
            timed = self._timed(take.attempt, row.window.seconds)
            heard.append(_heard(row, take, None, timed, timed[-1].end if timed else 0.0))
        return heard

    def _timed(self, attempt: Attempt, seconds: float) -> tuple[RawSegment, ...]:
        vocabulary = self._vocabulary
        segments = parse_timestamps(attempt.tokens, vocabulary.first_timestamp, vocabulary.eot, seconds)
        texts = [vocabulary.text(segment.tokens) for segment in segments]
        return tuple(
            RawSegment(segment.start, segment.end, text, None)
            for segment, text in zip(segments, texts, strict=True)
            if text.strip()
        )

    def _again(
        self, row: Row, key: BatchKey, reason: str, attempts: tuple[Attempt, ...], unprompted: str | None
    ) -> Again:
        row.key = key
        row.state = replace(row.state, attempts=attempts, retries=(*row.state.retries, reason), unprompted=unprompted)
        return Again((row,), reason)

    def _conclude(self, row: Row, take: Take, heard: Heard) -> list[Outcome]:
        """The row's text stands: the window is finished, or waits for its other half, or is split."""
        state: RowState = row.state
        if not take.silent and may_split(heard, state.depth, row.window.seconds):
            return [self._split(row, heard)]
        done: tuple[Heard, tuple[str, ...]] | None = (heard, state.retries)
        if state.half is not None:
            done = state.half.join.put(state.half.place, heard, state.retries)
        return [] if done is None else [Finished(row.job.key, _result(row.window.index, *done))]

    def _split(self, row: Row, heard: Heard) -> Again:
        state: RowState = row.state
        reason = heard.incomplete or "truncated"
        cut = quietest_point(row.encoded.loudness, row.window.samples)
        join = Join(heard, (*state.retries, reason), cut / SAMPLE_RATE, state.half)
        halves = tuple(
            Row(
                row.job,
                window,
                self._key(row.job, window, row.key.prompt_tokens),
                row.language,
                state=RowState(
                    unprompted=state.unprompted,
                    language_probability=state.language_probability,
                    depth=state.depth + 1,
                    half=Half(join, place),
                ),
            )
            for place, window in enumerate(cut_window(row.window, cut))
        )
        return Again(halves, reason)


def _heard(
    row: Row,
    take: Take,
    words: tuple[RawWord, ...] | None,
    timed: tuple[RawSegment, ...],
    last_end: float,
) -> Heard:
    attempt = take.attempt
    believed_end = last_end if take.dropped is None else 0.0
    return Heard(
        language=row.language or "",
        language_probability=row.state.language_probability,
        words=words,
        timed=timed,
        tokens=len(attempt.tokens),
        avg_logprob=attempt.avg_logprob,
        compression_ratio=attempt.compression_ratio,
        no_speech_prob=attempt.no_speech_prob,
        temperature=attempt.temperature,
        truncated=attempt.truncated,
        missing=missing_speech(believed_end, row.window.speech_end / SAMPLE_RATE),
        failed=take.failed,
        dropped=take.dropped,
    )


def _result(index: int, heard: Heard, retries: tuple[str, ...]) -> WindowResult:
    return WindowResult(
        index=index,
        language=heard.language,
        language_probability=heard.language_probability,
        segments=heard.segments,
        avg_logprob=heard.avg_logprob,
        compression_ratio=heard.compression_ratio,
        no_speech_prob=heard.no_speech_prob,
        temperature=heard.temperature,
        dropped=heard.dropped,
        retries=retries,
    )
