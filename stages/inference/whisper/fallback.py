# SPDX-License-Identifier: Apache-2.0
"""What becomes of an attempt: taken, retried at a higher temperature, or retried without the prompt.

Thresholds and order are those of Whisper's temperature fallback, applied row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.quality import echoes_prompt, is_repetition

__all__ = ["BEST_OF", "Decision", "Judge", "Retry", "RetryUnprompted", "Take", "decide"]

#: Hypotheses sampled at each temperature above 0; the most likely one counts.
BEST_OF = 5
_TEMPERATURE_STEP = 0.2
_LAST_TEMPERATURE = 1.0
_MAX_COMPRESSION_RATIO = 2.4
_MIN_AVG_LOGPROB = -1.0
_MIN_NO_SPEECH_PROB = 0.6


@dataclass(frozen=True, slots=True)
class Take:
    """This attempt stands.

    Attributes:
        silent: Nobody speaks there, says the model, so that nothing can be missing either.
        failed: No attempt passed; this is the best of them.
        dropped: Why its text is not to be believed, as in `WindowResult.dropped`.
    """

    attempt: Attempt
    silent: bool = False
    failed: bool = False
    dropped: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Decode again at this temperature."""

    temperature: float
    reason: str


@dataclass(frozen=True, slots=True)
class RetryUnprompted:
    """Begin anew, at temperature 0, without the prompt."""

    reason: str


Decision = Take | Retry | RetryUnprompted
#: What `decide` is.
Judge = Callable[[Sequence[Attempt], float, str | None, str | None], Decision]


def decide(attempts: Sequence[Attempt], speech_seconds: float, prompt: str | None, unprompted: str | None) -> Decision:
    """Judges the last of a row's attempts.

    Args:
        attempts: Those with the prompt of the last one, in order of temperature.
        speech_seconds: Speech in the row's audio.
        prompt: Text of the prompt that the attempts were given; None without one.
        unprompted: Why an earlier prompt was taken away; None if it was not.
    """
    latest = attempts[-1]
    if _is_silence(latest):
        return Take(latest, silent=True, dropped="silence" if latest.text else None)
    repetition = is_repetition(latest.text, speech_seconds)
    if prompt is not None:
        if echoes_prompt(latest.text, prompt):
            return RetryUnprompted("prompt_echo")
        if repetition:
            return RetryUnprompted("repetition")
    reason = _failure(latest) or ("repetition" if repetition else None)
    return Take(latest) if reason is None else _after_failure(attempts, reason, speech_seconds, unprompted)


def _after_failure(attempts: Sequence[Attempt], reason: str, speech_seconds: float, unprompted: str | None) -> Decision:
    latest = attempts[-1]
    if latest.temperature < _LAST_TEMPERATURE:
        return Retry(round(latest.temperature + _TEMPERATURE_STEP, 1), reason)
    best = _best(attempts)
    dropped = "repetition" if is_repetition(best.text, speech_seconds) else unprompted
    return Take(best, failed=True, dropped=dropped)


def _is_silence(attempt: Attempt) -> bool:
    return attempt.no_speech_prob > _MIN_NO_SPEECH_PROB and (attempt.avg_logprob < _MIN_AVG_LOGPROB or not attempt.text)


def _failure(attempt: Attempt) -> str | None:
    if attempt.compression_ratio > _MAX_COMPRESSION_RATIO:
        return "compression_ratio"
    if attempt.avg_logprob < _MIN_AVG_LOGPROB:
        return "logprob"
    return None


def _best(attempts: Sequence[Attempt]) -> Attempt:
    """The likeliest of those that are not repetitive, else of all."""
    varied = [attempt for attempt in attempts if attempt.compression_ratio <= _MAX_COMPRESSION_RATIO]
    return max(varied or attempts, key=lambda attempt: attempt.avg_logprob)
