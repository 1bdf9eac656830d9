# SPDX-License-Identifier: Apache-2.0
"""The master `transcript.json`, both ways. What `dump` writes, `load` reads back exactly."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqscribe.formats.options import RenderOptions
from sqscribe.transcript import JobWarning, Segment, Transcript, Word

__all__ = ["dump", "load", "render"]


def dump(transcript: Transcript) -> bytes:
    """UTF-8 JSON; the same transcript always gives the same bytes.

    Raises:
        ValueError: A number is not finite.
    """
    record: dict[str, object] = {
        "text": transcript.text,
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "duration": transcript.duration,
        "segments": [_segment(segment) for segment in transcript.segments],
    }
    if transcript.warnings:
        record["warnings"] = [asdict(warning) for warning in transcript.warnings]
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(body: bytes) -> Transcript:
    """Reads a master; fields that this version does not know are ignored.

    Raises:
        ValueError: It is not one.
    """
    try:
        record = json.loads(body)
        return Transcript(
            text=_text(record["text"]),
            language=_optional_text(record["language"]),
            language_probability=_optional_number(record["language_probability"]),
            duration=_number(record["duration"]),
            segments=tuple(_read_segment(segment) for segment in record["segments"]),
            warnings=tuple(
                JobWarning(_text(warning["code"]), _text(warning["message"])) for warning in record.get("warnings", ())
            ),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a transcript: {type(error).__name__}: {error}") from None


def render(transcript: Transcript, _options: RenderOptions) -> bytes:
    """The master depends on no option."""
    return dump(transcript)


def _segment(segment: Segment) -> dict[str, object]:
    record: dict[str, object] = {
        "id": segment.id,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
        "temperature": segment.temperature,
    }
    if segment.language is not None:
        record["language"] = segment.language
    if segment.track is not None:
        record["track"] = segment.track
    if segment.channel is not None:
        record["channel"] = segment.channel
    if segment.suspect is not None:
        record["suspect"] = segment.suspect
    if segment.words is not None:
        record["words"] = [
            {"word": word.word, "start": word.start, "end": word.end, "probability": word.probability}
            for word in segment.words
        ]
    return record


def _read_segment(record: dict[str, Any]) -> Segment:
    words = record.get("words")
    return Segment(
        id=int(record["id"]),
        start=_number(record["start"]),
        end=_number(record["end"]),
        text=_text(record["text"]),
        avg_logprob=_number(record["avg_logprob"]),
        compression_ratio=_number(record["compression_ratio"]),
        no_speech_prob=_number(record["no_speech_prob"]),
        temperature=_number(record["temperature"]),
        words=None if words is None else tuple(_read_word(word) for word in words),
        language=_optional_text(record.get("language")),
        track=_optional_count(record.get("track")),
        channel=_optional_count(record.get("channel")),
        suspect=_optional_text(record.get("suspect")),
    )


def _read_word(record: dict[str, Any]) -> Word:
    return Word(
        word=_text(record["word"]),
        start=_number(record["start"]),
        end=_number(record["end"]),
        probability=_number(record["probability"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {type(value).__name__}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number was expected, not {type(value).__name__}")
    return float(value)


def _optional_count(value: Any) -> int | None:
    return None if value is None else int(value)


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _optional_number(value: Any) -> float | None:
    return None if value is None else _number(value)
