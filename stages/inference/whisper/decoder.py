# SPDX-License-Identifier: Apache-2.0
"""The Whisper decoder: rows in, texts with times out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from sqscribe.errors import ErrorCode
from stages.inference.abilities import inability
from stages.inference.engine.comparison import Comparison, Incomparable
from stages.inference.engine.rows import Again, BatchKey, EngineJob, Finished, JobRefused, Outcome, Probed, Row
from stages.inference.judge.coverage import leaves_speech_out, missing_speech
from stages.inference.judge.pace import left_out
from stages.inference.judge.text import is_too_fast
from stages.inference.likelihood import among, most_likely
from stages.inference.protocol import RANDOM_MARK, DecodeOptions, EngineInfo, EngineSettings
from stages.inference.whisper.aligner import Aligned, Aligner, Spoken
from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.audio import read_window
from stages.inference.whisper.call import PROBE, Call, Prompt, call_of, prompt_of
from stages.inference.whisper.comparison import compare
from stages.inference.whisper.encoder import Encoder
from stages.inference.whisper.fallback import NEVER_SPOKEN, Judge, Retry, RetryUnprompted, Take, decide
from stages.inference.whisper.generator import MAX_NEW_TOKENS, Generator
from stages.inference.whisper.language import detect_languages
from stages.inference.whisper.model import LoadedModel, load_model
from stages.inference.whisper.parts import Half, Halves, Parent, Rest, Whole, may_split
from stages.inference.whisper.split import cut_window, edge_of_hole, part_of, quietest_point
from stages.inference.whisper.timestamps import parse_timestamps, rest_start
from stages.inference.whisper.transcribed import Transcribed, better_unprompted, transcribed
from stages.inference.whisper.vocabulary import MAX_PROMPT_TOKENS, Vocabulary, padded
from stages.values import SAMPLE_RATE, RawSegment, Window, WindowResult

__all__ = ["MAX_NEW_TOKENS", "WhisperDecoder"]

#: Audio that is nowhere louder, in dB of full scale, holds nothing that could be spoken.
_INAUDIBLE = -75.0
#: Text that is further from all speech, in seconds, was not spoken.
_NEAR = 0.5


@dataclass(frozen=True, slots=True)
class RowState:
    """A row's history. Replaced, never changed, and only once a batch is through: a failed batch can be repeated.

    Attributes:
        attempts: Those with the present prompt, one for each temperature so far.
        retries: Reasons of all further decodes.
        unprompted: Why the prompt was taken away.
        language_probability: Of the row's own detection under `multi`.
        prompted: What was transcribed with the prompt, where it may still be the better text.
        depth: How often the window was halved.
        parent: Where the row is handed in if it is a part of a window.
        whole: That window.
    """

    attempts: tuple[Attempt, ...] = ()
    retries: tuple[str, ...] = ()
    unprompted: str | None = None
    language_probability: float | None = None
    prompted: Transcribed | None = None
    depth: int = 0
    parent: Parent | None = None
    whole: Window | None = None


class WhisperDecoder:
    """Decodes rows on a CTranslate2 model: the real `stages.inference.engine.rows.WindowDecoder`.

    `run` may be called by `parallel` threads at once.

    Args:
        model: The loaded model.
        max_new_tokens: Tokens that a row may have; rows that need more are split.
        judge: Says what becomes of each attempt; any thread may ask.
    """

    def __init__(self, model: LoadedModel, *, max_new_tokens: int = MAX_NEW_TOKENS, judge: Judge = decide) -> None:
        self._model = model
        self._whisper = model.whisper
        self._info = model.info
        self._parallel = model.parallel
        # Random weights align text with nothing, so no text could be held against its alignment.
        self._judges_times = not (model.folder / RANDOM_MARK).is_file()
        self._vocabulary: Vocabulary = model.vocabulary
        self._encoder = Encoder(model.whisper, model.device, model.torch_encoder)
        self._aligner = Aligner(model.whisper, self._encoder, model.vocabulary)
        self._generator = Generator(model.whisper, self._encoder, model.vocabulary, max_new_tokens)
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

    def open(self, job_key: str, pcm_path: str, options: DecodeOptions) -> EngineJob | JobRefused:
        """Takes a job in: tokenises its prompt, checks what the model can do."""
        why = inability(self._info, options)
        if why is not None:
            return JobRefused(ErrorCode.UNSUPPORTED_OPTION, why)
        prompt = self._vocabulary.prompt(options.initial_prompt, options.hotwords)
        if len(prompt) - 1 > MAX_PROMPT_TOKENS:
            return JobRefused(
                ErrorCode.BAD_MESSAGE,
                f"initial_prompt, hotwords: {len(prompt) - 1} tokens together; at most {MAX_PROMPT_TOKENS} fit",
            )
        return EngineJob(job_key, pcm_path, options, Prompt(padded(prompt), self._vocabulary.text(prompt)))

    def rows(self, job: EngineJob, windows: tuple[Window, ...], *, probe: bool, language: str | None) -> list[Row]:
        """Fresh rows for windows: to be probed, or to be decoded in `language` (None under `multi`)."""
        return [
            Row(
                job,
                window,
                PROBE if probe else self._key(job, _prompt_tokens(job, window)),
                language,
                state=RowState(),
            )
            for window in windows
        ]

    def settled(self, row: Row, language: str) -> Row:
        """A probed row, made ready to be decoded in the job's language, its encoder output kept."""
        row.key = self._key(row.job, _prompt_tokens(row.job, row.window))
        row.language = language
        return row

    def run(self, rows: list[Row]) -> list[Outcome]:
        """Works on rows that all have the same key.

        Raises:
            FileNotFoundError: A job's PCM file is gone.
        """
        self._encode(rows)
        if rows[0].key.kind == "probe":
            return self._probe(rows)
        self._detect(rows)
        attempts = self._timed_attempts(rows, self._generator.attempts(rows))
        histories = [(*row.state.attempts, attempt) for row, attempt in zip(rows, attempts, strict=True)]
        decisions = [
            self._judge(
                history,
                row.window.speech / SAMPLE_RATE,
                prompt_of(row.job).text if call_of(row).prompt_tokens else None,
                row.state.unprompted,
                row.job.options.temperatures,
            )
            for row, history in zip(rows, histories, strict=True)
        ]
        # Copies need memory, of which there may be none left. So far nothing is changed that another try would miss.
        for row, decision in zip(rows, decisions, strict=True):
            if not isinstance(decision, Take):
                row.encoded = row.encoded.alone()
        outcomes: list[Outcome | None] = []
        for row, history, decision in zip(rows, histories, decisions, strict=True):
            match decision:
                case Retry(temperature, reason):
                    key = _at(call_of(row), temperature, row.job.options)
                    state = replace(row.state, attempts=history)
                    outcomes.append(self._again(row, key, reason, state))
                case RetryUnprompted(reason):
                    state = replace(row.state, attempts=(), unprompted=reason, prompted=_prompted(row, history, reason))
                    outcomes.append(self._again(row, self._key(row.job, 0), reason, state))
                case Take():
                    outcomes.append(self._conclude(row, decision))
                case _:
                    assert_never(decision)
        return [outcome for outcome in outcomes if outcome is not None]

    def relieve(self) -> None:
        """Gives back what torch keeps for later; CTranslate2 cannot use it otherwise."""
        self._encoder.relieve()

    def compare(self, pcm_path: str, window: Window, language: str, text: str) -> Comparison | Incomparable:
        """Computes a window on the device and by the reference."""
        return compare(self._model, read_window(pcm_path, window), language, text)

    def _key(self, job: EngineJob, prompt_tokens: int) -> BatchKey:
        options = job.options
        call = Call(
            timestamps=options.task == "translate" or not self._info.can_align,
            prompt_tokens=prompt_tokens,
            beam_size=options.beam_size,
            temperature=0.0,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            repetition_penalty=options.repetition_penalty,
            suppress_numerals=options.suppress_numerals,
        )
        return _at(call, options.temperatures[0], options)

    def _encode(self, rows: Sequence[Row]) -> None:
        fresh = [row for row in rows if row.encoded is None]
        if not fresh:
            return
        samples = [read_window(row.job.pcm_path, row.window) for row in fresh]
        for row, encoded in zip(fresh, self._encoder.encode(samples), strict=True):
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
            row.language, probability = most_likely(among(probabilities, row.job.options.candidates))
            row.state = replace(row.state, language_probability=probability)

    def _timed_attempts(self, rows: Sequence[Row], attempts: Sequence[Attempt]) -> list[Attempt]:
        """The attempts with the times of their words or segments, and the speech that each of them leaves out."""
        if call_of(rows[0]).timestamps:
            return [self._by_timestamps(row, attempt) for row, attempt in zip(rows, attempts, strict=True)]
        spoken = [
            Spoken(
                row.encoded,
                self._vocabulary.text_tokens(attempt.tokens),
                row.language or "",
                row.window.seconds,
            )
            for row, attempt in zip(rows, attempts, strict=True)
        ]
        return [
            _aligned(row, attempt, aligned) if self._judges_times else replace(attempt, words=aligned.words)
            for row, attempt, aligned in zip(rows, attempts, self._aligner.align(spoken), strict=True)
        ]

    def _by_timestamps(self, row: Row, attempt: Attempt) -> Attempt:
        timed = self._timed(attempt, row.window.seconds)
        return replace(attempt, timed=timed, holes=missing_speech(timed, row.window))

    def _timed(self, attempt: Attempt, seconds: float) -> tuple[RawSegment, ...]:
        vocabulary = self._vocabulary
        segments = parse_timestamps(attempt.tokens, vocabulary.first_timestamp, vocabulary.eot, seconds)
        texts = [vocabulary.text(segment.tokens) for segment in segments]
        return tuple(
            RawSegment(segment.start, segment.end, text, None)
            for segment, text in zip(segments, texts, strict=True)
            if text.strip()
        )

    def _again(self, row: Row, key: BatchKey, reason: str, state: RowState) -> Again:
        row.key = key
        row.state = replace(state, retries=(*state.retries, reason))
        return Again((row,), reason)

    def _conclude(self, row: Row, take: Take) -> Outcome | None:
        """The row's text stands: the window is finished, or waits for another part, or goes on in parts."""
        state: RowState = row.state
        own = transcribed(take.attempt, take, row.language or "", state.language_probability)
        if own.words != () and own.dropped is None and _in_silence(row):
            own = replace(own, dropped="silence")
        if own.dropped is not None:
            own = replace(own, holes=missing_speech((), row.window))
        if state.prompted is not None:
            own = better_unprompted(state.prompted, own)
        if call_of(row).timestamps and not take.silent and not take.failed:
            rest = rest_start(take.attempt.tokens, self._vocabulary.first_timestamp, self._vocabulary.eot, row.window)
            if rest is not None:
                return self._go_on(row, own, rest)
        if not take.silent and may_split(own, state.depth, row.window.seconds):
            return self._split(row, own)
        done: Whole | None = (own, state.retries)
        if state.parent is not None:
            done = state.parent.put(own, state.retries)
        return None if done is None else Finished(row.job.job_key, _result(state.whole or row.window, *done))

    def _go_on(self, row: Row, own: Transcribed, seconds: float) -> Again:
        """Has what lies behind the last finished segment decoded as a row of its own, as Whisper expects it."""
        state: RowState = row.state
        before = replace(
            own, timed=tuple(each for each in own.timed if each.start < seconds), holes=(), truncated=False
        )
        parent = Rest(before, (*state.retries, "rest"), seconds, state.parent)
        window = part_of(row.window, round(seconds * SAMPLE_RATE), row.window.samples)
        return Again((self._part(row, window, parent, state.depth),), "rest")

    def _split(self, row: Row, own: Transcribed) -> Again:
        state: RowState = row.state
        reason = own.incomplete or "truncated"
        if own.holes and not own.truncated:
            cut = edge_of_hole(row.encoded.loudness, row.window, own.holes)
        else:
            cut = quietest_point(row.encoded.loudness, row.window.samples)
        halves = Halves(own, (*state.retries, reason), cut / SAMPLE_RATE, state.parent)
        windows = enumerate(cut_window(row.window, cut))
        parts = (self._part(row, window, Half(halves, place), state.depth + 1) for place, window in windows)
        return Again(tuple(parts), reason)

    def _part(self, row: Row, window: Window, parent: Parent, depth: int) -> Row:
        """A row for a part of a row's window, to be decoded as the row was."""
        state = RowState(
            unprompted=row.state.unprompted,
            language_probability=row.state.language_probability,
            depth=depth,
            parent=parent,
            whole=row.state.whole or row.window,
        )
        return Row(row.job, window, self._key(row.job, call_of(row).prompt_tokens), row.language, state=state)


def _at(call: Call, temperature: float, options: DecodeOptions) -> BatchKey:
    """The key at a temperature; what is sampled has no beam."""
    return call._replace(temperature=temperature, beam_size=1 if temperature > 0 else options.beam_size).key


def _prompt_tokens(job: EngineJob, window: Window) -> int:
    """Tokens of the prompt that a window is given: none where nobody speaks, or it would be all there is to write."""
    return len(prompt_of(job).tokens) if window.spans else 0


def _aligned(row: Row, attempt: Attempt, aligned: Aligned) -> Attempt:
    too_fast = is_too_fast("".join(slot.word for slot in aligned.slots), row.window.speech / SAMPLE_RATE)
    out = left_out(aligned.slots, too_fast=too_fast)
    return replace(
        attempt,
        words=tuple(word for place, word in enumerate(aligned.words) if place not in out),
        unspeakable=len(out) if too_fast else 0,
        holes=missing_speech([slot for place, slot in enumerate(aligned.slots) if place not in out], row.window),
        spoken_logprob=aligned.logprob,
    )


def _in_silence(row: Row) -> bool:
    """Whether neither the detector heard speech in the row's audio nor is there anything to hear."""
    loudness = row.encoded.loudness
    return not row.window.spans and (not len(loudness) or float(loudness.max()) < _INAUDIBLE)


def _prompted(row: Row, history: Sequence[Attempt], reason: str) -> Transcribed | None:
    """What the prompt gave, unless it was never spoken."""
    if reason in NEVER_SPOKEN:
        return None
    return transcribed(history[-1], Take(history[-1]), row.language or "", row.state.language_probability)


def _doubted(segment: RawSegment, window: Window) -> RawSegment:
    """A segment with the doubt that nobody speaks where it lies."""
    first, last = (segment.start - _NEAR) * SAMPLE_RATE, (segment.end + _NEAR) * SAMPLE_RATE
    if segment.suspect or any(start < last and end > first for start, end in window.spans):
        return segment
    return replace(segment, suspect="no_speech")


def _result(window: Window, own: Transcribed, retries: tuple[str, ...]) -> WindowResult:
    return WindowResult(
        index=window.index,
        language=own.language,
        language_probability=own.language_probability,
        segments=tuple(_doubted(segment, window) for segment in own.segments),
        avg_logprob=own.avg_logprob,
        compression_ratio=own.compression_ratio,
        no_speech_prob=own.no_speech_prob,
        temperature=own.temperature,
        dropped=own.dropped,
        retries=retries,
        missing=tuple((hole.start, hole.end) for hole in own.holes) if leaves_speech_out(own.holes) else (),
    )
