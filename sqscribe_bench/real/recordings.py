# SPDX-License-Identifier: Apache-2.0
"""Recordings with what is said in them: from a folder beside the checkout, and from packages."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from sqscribe_bench.real.audio import RATE, read, speech
from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.packages import ITEMS

__all__ = ["Recording", "Sentence", "jfk", "long_recordings", "sentences", "speech_folder", "spoken"]

#: Names the folder of the recordings: `manifest.json`, and the files in `data`.
VARIABLE = "SQSCRIBE_REAL_SPEECH"
_CHECKOUT = Path(__file__).resolve().parents[2]

_JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."

#: What most decodings of the long recordings have, and what must have been said.
_SHARED_MISTAKES = {
    "on core performance": "encore performance",
    "university or roberts": "university oral roberts",
    "university or robert ": "university oral roberts ",
    "bretton to undercut": "threatening to undercut",
    "threatened to undercut": "threatening to undercut",
    "mandate to but to": "mandate but to",
    "crews today": "cruz today",
    "wm you are": "wmur",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said in a part of a recording, on the recording's clock, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A media file and what is said in it.

    Attributes:
        name: Unique within a corpus.
        path: The file.
        language: Whisper code.
        sentences: What is said, in order; empty where nothing is.
        speech: Where someone speaks, in seconds.
        seconds: Its length.
    """

    name: str
    path: Path
    language: str
    sentences: tuple[Sentence, ...]
    speech: tuple[tuple[float, float], ...]
    seconds: float

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(sentence.text for sentence in self.sentences)


def speech_folder() -> Path:
    """The folder that $SQSCRIBE_REAL_SPEECH names, else `shared/real-speech` beside the checkout.

    Raises:
        CannotBeHadError: It has no manifest.
    """
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else _CHECKOUT.parent / "shared" / "real-speech"
    if not (folder / "manifest.json").is_file():
        why = f"{folder} has no manifest.json" if named else f"{VARIABLE} names no folder of recordings"
        raise CannotBeHadError(f"the recordings are not here: {why}")
    return folder


def spoken(language: str | None = None) -> tuple[Recording, ...]:
    """The recordings of the folder, in the order of their manifest.

    Args:
        language: Only those in it.

    Raises:
        CannotBeHadError: There is no such folder.
    """
    folder = speech_folder()
    known = json.loads((folder / "manifest.json").read_text("utf-8"))
    return tuple(
        recording(folder / "data" / each["file"], each["language"], each["ref"])
        for each in known
        if language in {None, each["language"]}
    )


def jfk(cache: Cache) -> Recording:
    """President Kennedy's sentence, 11 s."""
    return recording(cache.item(ITEMS["jfk"]) / "jfk.mp3", "en", _JFK)


def long_recordings(cache: Cache) -> tuple[Recording, ...]:
    """A minute of speech and three of television news, in English.

    Nobody wrote down what is said in them: the text is what most of several decodings agree on (`consensus.py`), with
    the mistakes that they share put right. It tells a stretch that is gone or made up, and not one word more or less.
    """
    from sqscribe_bench.real.consensus import consensus  # noqa: PLC0415 - loads the models' library

    folder = cache.item(ITEMS["long"])
    return tuple(recording(path, "en", _righted(consensus(path, cache))) for path in sorted(folder.glob("*.wav")))


def sentences(cache: Cache) -> tuple[Recording, ...]:
    """Short synthetic sentences in nine languages."""
    folder = cache.item(ITEMS["sentences"]) / "audio"
    return tuple(
        recording(path, path.parent.name, path.with_suffix(".txt").read_text("utf-8").strip())
        for path in sorted(folder.glob("*/*.wav"))
    )


def recording(path: Path, language: str, text: str) -> Recording:
    """A recording of one sentence."""
    sound = read(path)
    seconds = len(sound) / RATE
    said = (Sentence(text, 0.0, seconds),)
    return Recording(f"{language}-{path.stem}", path, language, said, speech(sound), seconds)


def _righted(text: str) -> str:
    for wrong, right in _SHARED_MISTAKES.items():
        text = text.replace(wrong, right)
    return text
