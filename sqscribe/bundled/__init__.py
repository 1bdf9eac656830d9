# SPDX-License-Identifier: Apache-2.0
"""What ships inside the package: a tiny Whisper model, recordings that it is known to transcribe, and the demo's clips.

The model knows 107 English words, spoken by one family of synthetic voices; see `docs/demo-model.md`. The recordings
are a smoke test chosen because the model transcribes them, never a sample of its accuracy. Released models have real
speech besides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "ControlRecording",
    "DemoClip",
    "Expected",
    "Speech",
    "SpokenWord",
    "control_clip",
    "control_clips",
    "demo_clips",
    "model_path",
    "speeches",
    "vocabulary",
]

_HERE = Path(__file__).resolve().parent

#: The recording of the engine's start-up check, and how much of it may be misheard: 2 of its 18 words. A broken device
#: returns nothing or noise, so the bound need not be tight, and it must hold for every compute type.
_SELFCHECK = "selfcheck"
_SELFCHECK_MAX_ERROR_RATE = 0.12


class Expected(StrEnum):
    """What a transcription job over a demo clip must end in."""

    #: A transcript close to the clip's text.
    TRANSCRIPT = "transcript"
    #: Success with an empty text: nothing is said.
    EMPTY = "empty"
    #: The permanent failure `media_unreadable`: the file is not media.
    MEDIA_UNREADABLE = "media_unreadable"


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """One word as the synthesiser spoke it.

    Attributes:
        word: In lower case, without blanks.
        start: Seconds from the start of the file.
        end: Seconds from the start of the file.
    """

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class ControlRecording:
    """A 16 kHz mono signed 16-bit WAV that the bundled model is known to transcribe.

    Attributes:
        name: File name without its ending.
        path: The WAV file.
        text: What is said: lower case, words apart by one blank.
        words: The same with their times.
        seconds: Duration.
        max_error_rate: Word error rate (0 to 1) above which an engine that runs the bundled model is broken.
    """

    name: str
    path: Path
    text: str
    words: tuple[SpokenWord, ...]
    seconds: float
    max_error_rate: float


@dataclass(frozen=True, slots=True)
class DemoClip:
    """One file of the demo.

    Attributes:
        name: File name with its ending, unique.
        path: The media file.
        text: What is said: lower case, words apart by one blank; empty where nothing is.
        words: The same with their times.
        seconds: Duration; 0.0 for a file that is not media.
        voices: espeak-ng voices that speak in it.
        expected: What a job over it must end in.
    """

    name: str
    path: Path
    text: str
    words: tuple[SpokenWord, ...]
    seconds: float
    voices: tuple[str, ...]
    expected: Expected


@dataclass(frozen=True, slots=True)
class Speech:
    """A recording of a person.

    Attributes:
        name: File name with its ending.
        path: The media file.
        title: Who speaks, where and when, and under what terms.
        text: What is said, as it is written.
        seconds: Duration.
    """

    name: str
    path: Path
    title: str
    text: str
    seconds: float


def model_path() -> Path:
    """The CTranslate2 folder of the bundled model (int8, English only, 80 mel bands)."""
    return _HERE / "model"


@cache
def vocabulary() -> frozenset[str]:
    """The words that the bundled model can print, in lower case."""
    tokens = json.loads((model_path() / "vocabulary.json").read_text("utf-8"))
    return frozenset(token[1:] for token in tokens if token.startswith("\u0120"))


@cache
def control_clips() -> tuple[ControlRecording, ...]:
    """All recordings that the bundled model transcribes without error in most decoding modes, by name."""
    return tuple(_control_clip(path) for path in sorted((_HERE / "control").glob("*.wav")))


def control_clip() -> ControlRecording:
    """The recording for the engine's start-up check: 13 s, 18 words, one voice."""
    return next(clip for clip in control_clips() if clip.name == _SELFCHECK)


@cache
def demo_clips() -> tuple[DemoClip, ...]:
    """All files of the demo, by name; media and broken ones alike."""
    return tuple(_demo_clip(path) for path in sorted((_HERE / "clips").glob("*.json")))


@cache
def speeches() -> tuple[Speech, ...]:
    """Real speech, by name: what a released model transcribes in the demo."""
    return tuple(_speech(path) for path in sorted((_HERE / "speech").glob("*.json")))


def _speech(facts_path: Path) -> Speech:
    facts = json.loads(facts_path.read_text("utf-8"))
    path = facts_path.with_name(facts["file"])
    return Speech(path.name, path, facts["title"], facts["text"], facts["duration"])


def _control_clip(path: Path) -> ControlRecording:
    truth = json.loads(path.with_suffix(".json").read_text("utf-8"))
    words = _words(truth)
    return ControlRecording(
        name=path.stem,
        path=path,
        text=" ".join(word.word for word in words),
        words=words,
        seconds=truth["duration"],
        max_error_rate=_SELFCHECK_MAX_ERROR_RATE,
    )


def _demo_clip(truth_path: Path) -> DemoClip:
    truth = json.loads(truth_path.read_text("utf-8"))
    words = _words(truth)
    return DemoClip(
        name=truth["file"],
        path=truth_path.with_name(truth["file"]),
        text=" ".join(word.word for word in words),
        words=words,
        seconds=truth["duration"],
        voices=tuple(truth["voices"]),
        expected=Expected(truth["expected"]),
    )


def _words(truth: Mapping[str, Any]) -> tuple[SpokenWord, ...]:
    return tuple(SpokenWord(word["word"], word["start"], word["end"]) for word in truth["words"])
