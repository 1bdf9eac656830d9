# SPDX-License-Identifier: Apache-2.0
"""Make the clips of `sqscribe demo`: speak, encode, listen, and say anew what the bundled model mishears.

The clips are chosen because the model transcribes them. They are a smoke test of the whole way from a media file to a
transcript, and say nothing about how accurate the model is; docs/demo-model.md does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import imageio_ffmpeg
from demo_clips.plans import BROKEN_BYTES, BROKEN_FILE, PLANS, Plan
from demo_clips.take import Reader, Slot, audio, truth
from demo_model.espeak import SAMPLE_RATE, Espeak
from demo_model.listening import Listener, wrong_words
from faster_whisper import decode_audio

_BUNDLED = Path(__file__).resolve().parent.parent / "sqscribe" / "bundled"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="files to make (default: all)")
    parser.add_argument("--output", type=Path, default=_BUNDLED / "clips", help="where they go (default: the package)")
    parser.add_argument("--model", type=Path, default=_BUNDLED / "model", help="CTranslate2 folder that listens")
    parser.add_argument("--rounds", type=int, default=25, help="how often phrases are said anew (default: 25)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {plan.file for plan in PLANS} - {BROKEN_FILE}
    if unknown:
        parser.error(f"no such clip: {', '.join(sorted(unknown))}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    espeak, listener = Espeak(), Listener(arguments.model, arguments.threads)
    imperfect = 0
    for plan in PLANS:
        if not arguments.names or plan.file in arguments.names:
            imperfect += _make(plan, espeak, listener, arguments.output, arguments.rounds) > 0
    if not arguments.names or BROKEN_FILE in arguments.names:
        (arguments.output / BROKEN_FILE).write_bytes(BROKEN_BYTES)
        nothing = {"file": BROKEN_FILE, "expected": "media_unreadable", "duration": 0.0, "voices": [], "words": []}
        _write_truth(arguments.output, nothing)
    print(f"{imperfect} clips are misheard in some mode")
    return 0


def _make(plan: Plan, espeak: Espeak, listener: Listener, output: Path, rounds: int) -> int:
    """Make one clip.

    Returns:
        The words misheard in all modes together in the best round, which is the one kept.
    """
    reader = Reader(plan, espeak)
    slots = kept = reader.read()
    best, fewest, misheard = b"", sys.maxsize, set[int]()
    with TemporaryDirectory() as folder:
        for number in range(rounds):
            media = Path(folder) / plan.file
            _encode(plan, slots, media)
            errors, wrong = _mishearings(slots, listener, media)
            print(f"{plan.file} round {number}: {errors} words misheard in {len(wrong)} of {len(slots)} phrases")
            if errors <= fewest:
                best, kept, fewest, misheard = media.read_bytes(), slots, errors, wrong
            if not errors:
                break
            slots = reader.say_anew(kept, misheard)
    (output / plan.file).write_bytes(best)
    _write_truth(output, truth(plan, kept))
    return fewest


def _mishearings(slots: tuple[Slot, ...], listener: Listener, media: Path) -> tuple[int, set[int]]:
    """Words misheard over all modes, and the phrases that they belong to."""
    said = [word for slot in slots for word in slot.utterance.words]
    phrase_of = [index for index, slot in enumerate(slots) for _ in slot.utterance.words]
    errors, phrases = 0, set[int]()
    for heard in listener.hear(decode_audio(str(media))).values():
        if not said:
            errors += len(heard)
            continue
        wrong = wrong_words(said, heard)
        errors += len(wrong)
        phrases |= {phrase_of[index] for index in wrong}
    return errors, phrases


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


def _write_truth(output: Path, known: dict[str, object]) -> None:
    path = output / str(known["file"])
    path.with_suffix(".json").write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    words = " ".join(word["word"] for word in known["words"])  # type: ignore[attr-defined]
    path.with_suffix(".txt").write_text(words + "\n" if words else "", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
