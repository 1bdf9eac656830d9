# SPDX-License-Identifier: Apache-2.0
"""OpenAI's `verbose_json`, field for field as its client libraries' types want it.

Source: https://github.com/openai/openai-python/blob/main/src/openai/types/audio/transcription_verbose.py
"""

from __future__ import annotations

import json

from sqscribe.formats.options import RenderOptions
from sqscribe.languages import LANGUAGES
from sqscribe.transcript import Segment, Transcript

__all__ = ["render"]

#: Frames a second in which Whisper counts its `seek`.
_FRAMES = 100


def render(transcript: Transcript, options: RenderOptions) -> bytes:
    """UTF-8 JSON; `words` are at the top level, and only with `word_timestamps`.

    `channel` and `track` stand at segments and words where the master has them; the types take more fields.
    `language` is an English name, empty without speech (the type wants a string). `tokens` is always empty: the
    master does not keep them.
    """
    record: dict[str, object] = {
        "task": options.task,
        "language": LANGUAGES.get(transcript.language, transcript.language) if transcript.language else "",
        "duration": transcript.duration,
        "text": transcript.text,
        "segments": [_segment(segment) for segment in transcript.segments],
    }
    if options.word_timestamps:
        record["words"] = [
            {"word": word.word.strip(), "start": word.start, "end": word.end} | _voice(segment)
            for segment, word in transcript.words()
        ]
    record["usage"] = {"type": "duration", "seconds": transcript.duration}
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _segment(segment: Segment) -> dict[str, object]:
    return {
        "id": segment.id,
        "seek": round(segment.start * _FRAMES),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    } | _voice(segment)


def _voice(segment: Segment) -> dict[str, object]:
    numbers = {"track": segment.track, "channel": segment.channel}
    return {name: number for name, number in numbers.items() if number is not None}
