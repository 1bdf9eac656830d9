# SPDX-License-Identifier: Apache-2.0
"""What a contender made of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Case", "Heard", "Part", "Word"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it was written, and when it was said, in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Part:
    """A segment.

    Attributes:
        text: What was written.
        start: Seconds.
        end: Seconds.
        suspect: Why it is not trusted; None where it is.
        words: Empty where the contender has no times for them.
        temperature: That it was decoded at; None where the contender does not say.
    """

    text: str
    start: float
    end: float
    suspect: str | None = None
    words: tuple[Word, ...] = ()
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A transcript.

    Attributes:
        language: As it was found or given.
        parts: The segments, in the contender's order.
        warnings: What the contender says is wrong with it.
        error: Why there is no transcript; None where there is.
    """

    language: str | None
    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()
    error: str | None = None

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(part.text for part in self.parts)

    @property
    def words(self) -> tuple[Word, ...]:
        """All words that have times."""
        return tuple(word for part in self.parts for word in part.words)

    @classmethod
    def from_json(cls, record: Mapping[str, Any], warnings: Sequence[Any] = ()) -> Heard:
        """Reads a master transcript, or anything that has its fields.

        Args:
            record: The transcript.
            warnings: Those of its result, which has the transcript's among them.
        """
        told = warnings or record.get("warnings", ())
        return cls(
            language=record.get("language"),
            parts=tuple(_part(segment) for segment in record["segments"]),
            warnings=tuple(str(each.get("code", each) if isinstance(each, dict) else each) for each in told),
            error=record.get("error"),
        )

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            "language": self.language,
            "text": self.text.strip(),
            "segments": [
                {
                    "start": part.start,
                    "end": part.end,
                    "text": part.text,
                    **({"suspect": part.suspect} if part.suspect else {}),
                    "words": [{"word": word.word, "start": word.start, "end": word.end} for word in part.words],
                }
                for part in self.parts
            ],
            "warnings": list(self.warnings),
            **({"error": self.error} if self.error else {}),
        }


@dataclass(frozen=True, slots=True)
class Case:
    """A recording to be transcribed in a certain way.

    Attributes:
        group: Row of the table that it counts for.
        recording: Its name; the same one may stand in many cases.
        options: A job's, under the names that they have in a message.
    """

    group: str
    recording: str
    options: Mapping[str, Any] = field(default_factory=dict)


def _part(segment: Mapping[str, Any]) -> Part:
    suspect = segment.get("suspect")
    return Part(
        segment["text"],
        segment["start"],
        segment["end"],
        None if not suspect else str(suspect),
        tuple(Word(word["word"], word["start"], word["end"]) for word in segment.get("words") or ()),
        segment.get("temperature"),
    )
