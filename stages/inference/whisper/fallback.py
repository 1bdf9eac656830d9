# SPDX-License-Identifier: Apache-2.0
"""What becomes of an attempt: taken, retried at a higher temperature, or retried without the prompt.

Thresholds and order are those of Whisper's temperature fallback, applied row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqscribe.tuning import TEMPERATURES
from stages.inference.judge.coverage import leaves_speech_out
from stages.inference.judge.text import echoes_prompt, is_repetition
from stages.inference.whisper.attempt import Attempt

__all__ = ["BEST_OF", "NEVER_SPOKEN", "Decision", "Judge", "Retry", "RetryUnprompted", "Take", "decide"]

#: Hypotheses sampled at each temperature above 0; the most likely one counts.
BEST_OF = 5
_MAX_COMPRESSION_RATIO = 2.4
_MIN_AVG_LOGPROB = -1.0
_MIN_NO_SPEECH_PROB = 0.6
#: A text that is so much less likely once the prompt is gone was made up from the prompt: a translation into its
#: language, or a continuation of it.
_MAX_DRIFT = 0.1
#: Why a prompt was taken away, where the text that it gave was never spoken.
NEVER_SPOKEN = frozenset({"prompt_echo", "repetition"})


@dataclass(frozen=True, slots=True)
class Take:
    """This attempt stands.

    Attributes:
        silent: Nobody speaks there, says the model, so that nothing can be missing either.
        failed: No attempt passed; this is the best of them.
        dropped: Why its text is not to be believed, as in `WindowResult.dropped`.
        suspect: Why it is not to be trusted, though it is kept.
    """

    attempt: Attempt
    silent: bool = False
    failed: bool = False
    dropped: str | None = None
    suspect: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Decode again at this temperature."""

    temperature: float
    reason: str


@dataclass(frozen=True, slots=True)
class RetryUnprompted:
    """Begin anew, at the first temperature, without the prompt."""

    reason: str


Decision = Take | Retry | RetryUnprompted
#: What `decide` is.
Judge = Callable[[Sequence[Attempt], float, str | None, str | None, Sequence[float]], Decision]


def decide(
    attempts: Sequence[Attempt],
    speech_seconds: float,
    prompt: str | None,
    unprompted: str | None,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Decision:
    """Judges the last of a row's attempts.

    Args:
        attempts: Those with the prompt of the last one, in the order of `temperatures`.
        speech_seconds: Speech in the row's audio.
        prompt: Text of the prompt that the attempts were given; None without one.
        unprompted: Why an earlier prompt was taken away; None if it was not.
        temperatures: Each once; that of the last attempt is among them.
    """
    latest = attempts[-1]
    repetition = is_repetition(latest.text, speech_seconds)
    if prompt is not None and (harm := _harm(latest, prompt, repetition=repetition)):
        return RetryUnprompted(harm)
    if _is_silence(latest):
        return Take(latest, silent=True, dropped="silence" if latest.text else None)
    reason = _failure(latest) or ("repetition" if repetition else None)
    if reason is None:
        return Take(latest)
    left = temperatures[temperatures.index(latest.temperature) + 1 :]
    return Retry(left[0], reason) if left else _after_failures(attempts, reason, speech_seconds, unprompted)


def _after_failures(attempts: Sequence[Attempt], reason: str, speech_seconds: float, unprompted: str | None) -> Take:
    """The best of what was tried, with what is wrong with it."""
    best = _best(attempts)
    if is_repetition(best.text, speech_seconds):
        return Take(best, failed=True, dropped="repetition")
    if unprompted in NEVER_SPOKEN:
        return Take(best, failed=True, dropped=unprompted)
    return Take(best, failed=True, suspect=_failure(best) or reason)


def _harm(attempt: Attempt, prompt: str, *, repetition: bool) -> str | None:
    """What the prompt has done to the text."""
    if echoes_prompt(attempt.text, prompt):
        return "prompt_echo"
    if repetition:
        return "repetition"
    if leaves_speech_out(attempt.holes):
        return "incomplete"
    spoken = attempt.spoken_logprob
    return "prompt_drift" if spoken is not None and spoken < attempt.avg_logprob - _MAX_DRIFT else None


def _is_silence(attempt: Attempt) -> bool:
    return attempt.no_speech_prob > _MIN_NO_SPEECH_PROB and (attempt.avg_logprob < _MIN_AVG_LOGPROB or not attempt.text)


def _failure(attempt: Attempt) -> str | None:
    if attempt.compression_ratio > _MAX_COMPRESSION_RATIO:
        return "compression_ratio"
    if attempt.avg_logprob < _MIN_AVG_LOGPROB:
        return "logprob"
    return "pace" if attempt.unspeakable else None


def _best(attempts: Sequence[Attempt]) -> Attempt:
    """The likeliest of those that are not repetitive, else the least repetitive."""
    varied = [attempt for attempt in attempts if attempt.compression_ratio <= _MAX_COMPRESSION_RATIO]
    if varied:
        return max(varied, key=lambda attempt: attempt.avg_logprob)
    return min(attempts, key=lambda attempt: attempt.compression_ratio)
