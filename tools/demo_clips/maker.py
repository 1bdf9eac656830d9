# SPDX-License-Identifier: Apache-2.0
"""Makes one clip: speaks, encodes, listens, and says anew what is misheard."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio_ffmpeg
from demo_model.espeak import SAMPLE_RATE, Espeak
from demo_model.listening import MODES, Listener, wrong_words
from faster_whisper import decode_audio

from demo_clips.engine import Engine
from demo_clips.plans import Plan
from demo_clips.take import Reader, Slot, audio, truth

#: Which modes of faster-whisper listen together with sqscribe, and which only to what all these hear well.
_QUICK_MODES = ("sequential", "batched, no timestamps")
_SLOW_MODES = tuple(mode for mode in MODES if mode not in _QUICK_MODES)


@dataclass(frozen=True, slots=True)
class Assessment:
    """How well a reading was transcribed.

    Attributes:
        passed: How far it got: 0 when sqscribe or a quick mode misheard too much, 1 when a slow one did, 2 when all
            did well.
        errors: Words misheard, over all modes that listened.
        worst: Share of the words misheard in the worst of them.
        phrases: Indices of the phrases with a misheard word.
    """

    passed: int
    errors: int
    worst: float
    phrases: frozenset[int]

    def beats(self, other: Assessment) -> bool:
        """Whether it was transcribed no worse than the other."""
        return (self.passed, -self.errors) >= (other.passed, -other.errors)


class _Transcribers:
    """sqscribe and faster-whisper, which transcribe the readings of a plan."""

    def __init__(self, plan: Plan, model: Path) -> None:
        self._tolerance = plan.tolerance
        self._engine = Engine(model)
        self._listener = Listener(model)

    def assess(self, slots: tuple[Slot, ...], media: Path) -> Assessment:
        """Transcribe in the quick modes, and in the slow ones if the quick ones do well."""
        said = [word for slot in slots for word in slot.utterance.words]
        phrase_of = [index for index, slot in enumerate(slots) for _ in slot.utterance.words]
        samples = decode_audio(str(media))
        own = _wrong(said, self._engine.hear(media))
        wrong = [_wrong(said, words) for words in self._listener.hear(samples, _QUICK_MODES).values()]
        passed = 0
        # sqscribe must hear every word: what it mishears, the demo shows.
        if not own and self._bearable(wrong, said):
            wrong += [_wrong(said, words) for words in self._listener.hear(samples, _SLOW_MODES).values()]
            passed = 2 if self._bearable(wrong, said) else 1
        wrong.append(own)
        return Assessment(
            passed,
            sum(map(len, wrong)),
            max(map(len, wrong)) / max(1, len(said)),
            frozenset(phrase_of[index] for words in wrong for index in words if said),
        )

    def _bearable(self, wrong: list[set[int]], said: list[str]) -> bool:
        return max(map(len, wrong)) <= self._tolerance * len(said)


def _wrong(said: list[str], transcribed: list[str]) -> set[int]:
    """Indices of the words that were misheard; of silence, those of the words that were made up."""
    return wrong_words(said, transcribed) if said else set(range(len(transcribed)))


def make(plan: Plan, model: Path, output: Path, rounds: int) -> Assessment:
    """Speak, encode and listen until the model transcribes the clip well, then write it with its truth.

    Args:
        plan: The clip.
        model: CTranslate2 folder that listens.
        output: Folder for the media file, its `.json` and its `.txt`.
        rounds: How often at most.

    Returns:
        How well the best reading was transcribed, which is the one that was kept.
    """
    reader, transcribers = Reader(plan, Espeak()), _Transcribers(plan, model)
    slots = kept = draft = reader.read()
    best, assessed = b"", Assessment(0, sys.maxsize, 1.0, frozenset())
    drafted = assessed
    with TemporaryDirectory() as folder:
        media = Path(folder) / plan.file
        for number in range(rounds):
            _encode(plan, slots, media)
            current = transcribers.assess(slots, media)
            print(
                f"{plan.file} round {number}: {current.errors} words misheard, {current.worst:.2%} in the worst mode"
                f"{'' if current.passed else ' of the quick ones'}",
                flush=True,
            )
            if current.beats(assessed):
                best, kept, assessed = media.read_bytes(), slots, current
            if current.passed == 2:
                break
            # Saying a dozen phrases anew rarely gives a reading that the quick modes transcribe well: it is a draft, in
            # which only what they mishear is said anew, until they do. Then the slow modes compare it with the best.
            if current.passed:
                draft, drafted = kept, assessed
            elif drafted.passed or current.beats(drafted):
                draft, drafted = slots, current
            slots = reader.say_anew(draft, drafted.phrases)
    (output / plan.file).write_bytes(best)
    write_truth(output, truth(plan, kept))
    return assessed


def _encode(plan: Plan, slots: tuple[Slot, ...], target: Path) -> None:
    samples = audio(plan, slots)
    raw = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", str(samples.shape[1]), "-i", "pipe:0")
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-hide_banner", "-loglevel", "error", "-y", *raw, *plan.inputs),
            # The same bytes from the same ffmpeg, whenever it runs and on however many cores.
            *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags", "+bitexact", "-threads", "1"),
            *("-t", str(plan.seconds), *plan.encoder, str(target)),
        ],
        input=samples.tobytes(),
        check=True,
    )


def write_truth(output: Path, known: dict[str, Any]) -> None:
    """Store what is known about a clip beside it, as JSON and as text."""
    path = output / str(known["file"])
    path.with_suffix(".json").write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    words = " ".join(word["word"] for word in known["words"])
    path.with_suffix(".txt").write_text(words + "\n" if words else "", "utf-8")
