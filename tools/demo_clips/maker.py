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
from demo_model.listening import Listener, wrong_words
from faster_whisper import decode_audio

from demo_clips.plans import Plan
from demo_clips.take import Reader, Slot, audio, truth


@dataclass(frozen=True, slots=True)
class Hearing:
    """How a reading was heard.

    Attributes:
        errors: Words misheard, over all modes together.
        worst: Share of the words misheard in the worst mode.
        phrases: Indices of the phrases with a misheard word.
    """

    errors: int
    worst: float
    phrases: frozenset[int]


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
    reader, listener = Reader(plan, Espeak()), Listener(model)
    slots = kept = reader.read()
    best, heard = b"", Hearing(sys.maxsize, 1.0, frozenset())
    with TemporaryDirectory() as folder:
        media = Path(folder) / plan.file
        for number in range(rounds):
            _encode(plan, slots, media)
            hearing = _listen(slots, listener, media)
            print(
                f"{plan.file} round {number}: {hearing.errors} words misheard, {hearing.worst:.2%} in the worst mode",
                flush=True,
            )
            if hearing.errors <= heard.errors:
                best, kept, heard = media.read_bytes(), slots, hearing
            if hearing.worst <= plan.tolerance:
                break
            slots = reader.say_anew(kept, heard.phrases)
    (output / plan.file).write_bytes(best)
    write_truth(output, truth(plan, kept))
    return heard


def _listen(slots: tuple[Slot, ...], listener: Listener, media: Path) -> Hearing:
    said = [word for slot in slots for word in slot.utterance.words]
    phrase_of = [index for index, slot in enumerate(slots) for _ in slot.utterance.words]
    heard = listener.hear(decode_audio(str(media))).values()
    if not said:
        invented = [len(words) for words in heard]
        return Hearing(sum(invented), float(max(invented) > 0), frozenset())
    wrong = [wrong_words(said, words) for words in heard]
    return Hearing(
        sum(map(len, wrong)),
        max(map(len, wrong)) / len(said),
        frozenset(phrase_of[index] for words in wrong for index in words),
    )


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
