# SPDX-License-Identifier: Apache-2.0
"""The master transcript: what every other format is rendered from."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["JobWarning", "Segment", "Transcript", "Word", "voice_name"]


def voice_name(track: int | None, channel: int | None) -> str:
    """A track's and a channel's name for people; empty where neither is told apart."""
    numbers = (("track", track), ("channel", channel))
    return ", ".join(f"{kind} {number}" for kind, number in numbers if number is not None).capitalize()


@dataclass(frozen=True, slots=True)
class Word:
    """One word on the file's clock.

    Attributes:
        word: The text with its leading blank, as Whisper's tokens spell it (" hello").
        start: Seconds from the start of the file.
        end: Seconds from the start of the file.
        probability: Mean probability of the word's tokens, 0 to 1.
    """

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One sentence or phrase on the file's clock.

    Attributes:
        id: Its place in the transcript, from 0.
        start: Seconds from the start of the file.
        end: Seconds from the start of the file.
        text: The text with its leading blank.
        avg_logprob: Mean log probability of the tokens of the window it came from.
        compression_ratio: UTF-8 bytes of the window's text over their zlib size.
        no_speech_prob: Probability of no speech in the window it came from.
        temperature: Sampling temperature that the text was decoded with.
        words: None where the model cannot align.
        language: Whisper code, only where the language varies within the file.
        track: Audio track from 0, only where every track was transcribed.
        channel: Channel from 0, only where channels were split.
        suspect: Why the text is not to be trusted; None when it is.
    """

    id: int
    start: float
    end: float
    text: str
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float
    words: tuple[Word, ...] | None = None
    language: str | None = None
    channel: int | None = None
    suspect: str | None = None
    track: int | None = None

    @property
    def voice(self) -> str:
        """Whose it is, as `voice_name` has it."""
        return voice_name(self.track, self.channel)


@dataclass(frozen=True, slots=True)
class JobWarning:
    """Something that a success does not show by itself: what was not transcribed, not trusted or not used.

    Attributes:
        code: One of the reference's.
        message: For a person.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """All that was said in one file.

    Attributes:
        text: All segments' texts, joined and stripped.
        language: Whisper code; None without speech; `multi` is never stored here (the most spoken one is).
        language_probability: 0 to 1; None without speech or when the job named the language.
        duration: Seconds of the decoded audio.
        segments: In order of time.
        warnings: What its reader should know.
    """

    text: str
    language: str | None
    language_probability: float | None
    duration: float
    segments: tuple[Segment, ...]
    warnings: tuple[JobWarning, ...] = ()

    @property
    def apart(self) -> bool:
        """Whether segments say which track or channel they are of; then those of several may overlap."""
        return any(segment.voice for segment in self.segments)

    def words(self) -> list[tuple[Segment, Word]]:
        """Every word with its segment, in order of time."""
        words = [(segment, word) for segment in self.segments for word in segment.words or ()]
        return sorted(words, key=lambda pair: pair[1].start) if self.apart else words
