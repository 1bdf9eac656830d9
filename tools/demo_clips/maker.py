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
class Hearing:
    """How a reading was heard.

    Attributes:
        passed: How far it got: 0 when sqscribe or a quick mode misheard too much, 1 when a slow one did, 2 when all
            heard it well.
        errors: Words misheard, over all modes that listened.
        worst: Share of the words misheard in the worst of them.
        phrases: Indices of the phrases with a misheard word.
    """

    passed: int
    errors: int
    worst: float
    phrases: frozenset[int]

    def beats(self, other: Hearing) -> bool:
        """Whether it was heard no worse than the other."""
        return (self.passed, -self.errors) >= (other.passed, -other.errors)


class _Audience:
    """sqscribe and faster-whisper, who listen to a plan's readings."""

    def __init__(self, plan: Plan, model: Path) -> None:
        self._tolerance = plan.tolerance
        self._engine = Engine(model)
        self._listener = Listener(model)

    def hear(self, slots: tuple[Slot, ...], media: Path) -> Hearing:
        """Listen in the quick modes, and in the slow ones if the quick ones hear well."""
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
        return Hearing(
            passed,
            sum(map(len, wrong)),
            max(map(len, wrong)) / max(1, len(said)),
            frozenset(phrase_of[index] for words in wrong for index in words if said),
        )

    def _bearable(self, wrong: list[set[int]], said: list[str]) -> bool:
        return max(map(len, wrong)) <= self._tolerance * len(said)


def _wrong(said: list[str], heard: list[str]) -> set[int]:
    """Indices of the words that were misheard; of silence, those of the words that were made up."""
    return wrong_words(said, heard) if said else set(range(len(heard)))


def make(plan: Plan, model: Path, output: Path, rounds: int) -> Hearing:
    """Speak, encode and listen until the model hears the clip well, then write it with its truth.

    Args:
        plan: The clip.
        model: CTranslate2 folder that listens.
        output: Folder for the media file, its `.json` and its `.txt`.
        rounds: How often at most.

    Returns:
        How the reading that was kept was heard: the best one.
    """
    reader, audience = Reader(plan, Espeak()), _Audience(plan, model)
    slots = kept = draft = reader.read()
    best, heard = b"", Hearing(0, sys.maxsize, 1.0, frozenset())
    drafted = heard
    with TemporaryDirectory() as folder:
        media = Path(folder) / plan.file
        for number in range(rounds):
            _encode(plan, slots, media)
            hearing = audience.hear(slots, media)
            print(
                f"{plan.file} round {number}: {hearing.errors} words misheard, {hearing.worst:.2%} in the worst mode"
                f"{'' if hearing.passed else ' of the quick ones'}",
                flush=True,
            )
            if hearing.beats(heard):
                best, kept, heard = media.read_bytes(), slots, hearing
            if hearing.passed == 2:
                break
            # Saying a dozen phrases anew rarely gives a reading that the quick modes hear well: it is a draft, in
            # which only what they mishear is said anew, until they do. Then the slow modes compare it with the best.
            if hearing.passed:
                draft, drafted = kept, heard
            elif drafted.passed or hearing.beats(drafted):
                draft, drafted = slots, hearing
            slots = reader.say_anew(draft, drafted.phrases)
    (output / plan.file).write_bytes(best)
    write_truth(output, truth(plan, kept))
    return heard


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
