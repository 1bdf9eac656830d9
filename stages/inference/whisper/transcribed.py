# SPDX-License-Identifier: Apache-2.0
"""What was made of a window or of a part of one: which of two is better, and two parts as one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from stages.inference.judge.coverage import Hole, leaves_speech_out
from stages.inference.whisper.attempt import Attempt, compression_ratio
from stages.inference.whisper.fallback import Take
from stages.inference.whisper.segments import cut_segments
from stages.values import RawSegment, RawWord

__all__ = ["Transcribed", "better", "better_unprompted", "joined", "transcribed"]

#: Differences in speech left out below this, in seconds, say nothing of completeness.
_COVERAGE_TOLERANCE = 1.0
#: A text that was given with a prompt may be so much less likely without it, in mean log probability, as one that was
#: given without: names that only the prompt could know cost so much, a translation far more.
_PROMPTED_TOLERANCE = 0.15

_Timed = TypeVar("_Timed", RawWord, RawSegment, Hole)


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What was made of a window or a part of one, in seconds of it.

    Attributes:
        words: None where the model cannot align.
        timed: Segments by the model's own timestamps, where `words` is None.
        tokens: How many there were, for weighing the parts of a whole.
        truncated: Whether the token cap cut the text off.
        holes: Speech that the text leaves out, down to a second each.
        failed: Whether no attempt passed the thresholds.
        dropped: Why the text is not to be believed.
        suspect: Why the text is not to be trusted, though it is kept.
        spoken_logprob: As in `Attempt`.
        language_probability: As in `WindowResult`.
    """

    language: str
    language_probability: float | None
    words: tuple[RawWord, ...] | None
    timed: tuple[RawSegment, ...]
    tokens: int
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    truncated: bool
    holes: tuple[Hole, ...]
    failed: bool
    dropped: str | None
    suspect: str | None = None
    spoken_logprob: float | None = None

    @property
    def missing(self) -> float:
        """Seconds of speech that the text leaves out."""
        return sum(hole.seconds for hole in self.holes)

    @property
    def incomplete(self) -> str | None:
        """Why words may be missing, as in `WindowResult.retries`; None when nothing hints at it.

        A text that is not believed, or that no attempt could make likely, says nothing by leaving speech out.
        """
        if self.truncated:
            return "truncated"
        left_out = leaves_speech_out(self.holes) and self.dropped is None and not self.failed
        return "incomplete" if left_out else None

    @property
    def segments(self) -> tuple[RawSegment, ...]:
        """What is kept of it, each with its doubt."""
        if self.dropped is not None:
            return ()
        segments = self.timed if self.words is None else cut_segments(self.words)
        return tuple(replace(segment, suspect=segment.suspect or self.suspect) for segment in segments)


def transcribed(attempt: Attempt, take: Take, language: str, language_probability: float | None) -> Transcribed:
    """What an attempt came to, once it was taken."""
    return Transcribed(
        language=language,
        language_probability=language_probability,
        words=attempt.words,
        timed=attempt.timed,
        tokens=len(attempt.tokens),
        avg_logprob=attempt.avg_logprob,
        compression_ratio=attempt.compression_ratio,
        no_speech_prob=attempt.no_speech_prob,
        temperature=attempt.temperature,
        truncated=attempt.truncated,
        holes=attempt.holes,
        failed=take.failed,
        dropped=take.dropped,
        suspect=take.suspect,
        spoken_logprob=attempt.spoken_logprob,
    )


def better(whole: Transcribed, parts: Transcribed) -> Transcribed:
    """The more complete one; among equals the one of better quality; the whole when nothing tells them apart.

    Completeness comes first: a text that was cut off lacks words for certain. Quality is whether it is believed,
    whether it passed the thresholds, and how likely it is.
    """
    if whole.truncated != parts.truncated:
        return parts if whole.truncated else whole
    if abs(whole.missing - parts.missing) > _COVERAGE_TOLERANCE:
        return min(whole, parts, key=lambda each: each.missing)
    return max(whole, parts, key=lambda each: (each.dropped is None, not each.failed, each.avg_logprob))


def better_unprompted(prompted: Transcribed, unprompted: Transcribed) -> Transcribed:
    """The text with the prompt, unless it leaves out more, or was made up from the prompt."""
    if (prompted.dropped is None) != (unprompted.dropped is None):
        return prompted if prompted.dropped is None else unprompted
    if unprompted.failed and not prompted.failed:
        return prompted
    # Likelihood comes first: a translation leaves nothing out, and what the other text leaves out is asked for again.
    if prompted.spoken_logprob is not None and unprompted.spoken_logprob is not None:
        likely = prompted.spoken_logprob >= unprompted.spoken_logprob - _PROMPTED_TOLERANCE
        if not likely:
            return unprompted
    return unprompted if prompted.missing - unprompted.missing > _COVERAGE_TOLERANCE else prompted


def joined(left: Transcribed, right: Transcribed, seconds: float) -> Transcribed:
    """Both parts as one, the second one's times shifted. A part that was dropped adds no text."""
    words: tuple[RawWord, ...] | None = None
    if left.words is not None or right.words is not None:
        words = (*_kept_words(left), *(_shifted(word, seconds) for word in _kept_words(right)))
    timed = (*_kept_segments(left), *(_shifted(segment, seconds) for segment in _kept_segments(right)))
    weights = left.tokens + 1, right.tokens + 1
    text = "".join(item.word for item in words) if words is not None else "".join(item.text for item in timed)
    spoken = left if left.tokens >= right.tokens else right
    return Transcribed(
        language=spoken.language,
        language_probability=spoken.language_probability,
        words=words,
        timed=timed,
        tokens=left.tokens + right.tokens,
        avg_logprob=_mean(left.avg_logprob, right.avg_logprob, weights),
        compression_ratio=compression_ratio(text.strip()),
        no_speech_prob=min(left.no_speech_prob, right.no_speech_prob),
        temperature=max(left.temperature, right.temperature),
        truncated=left.truncated or right.truncated,
        holes=(*left.holes, *(_shifted(hole, seconds) for hole in right.holes)),
        failed=left.failed or right.failed,
        dropped=left.dropped if left.dropped is not None and right.dropped is not None else None,
        suspect=left.suspect or right.suspect,
        spoken_logprob=None
        if left.spoken_logprob is None or right.spoken_logprob is None
        else _mean(left.spoken_logprob, right.spoken_logprob, weights),
    )


def _mean(left: float, right: float, weights: tuple[int, int]) -> float:
    return (left * weights[0] + right * weights[1]) / sum(weights)


def _kept_words(each: Transcribed) -> tuple[RawWord, ...]:
    return each.words or () if each.dropped is None else ()


def _kept_segments(each: Transcribed) -> tuple[RawSegment, ...]:
    return each.timed if each.dropped is None else ()


def _shifted(item: _Timed, seconds: float) -> _Timed:
    return replace(item, start=item.start + seconds, end=item.end + seconds)
