# SPDX-License-Identifier: Apache-2.0
"""Says whether the device computes: the texts of the same clips, on the CPU in single precision and on the device.

It is started with its settings as a JSON object. Each transcription is `sqscribe transcribe`, whose engine passes its
control recording before it begins. It ends with code 5 if texts differ by more than is allowed, and with code 3 if
the device is beyond use.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqscribe.bundled import control_clips, demo_clips, speeches
from sqscribe.errors import ExitCode
from sqscribe.wer import count_words, word_errors
from sqscribe_bench.lab.lines import LineFile
from sqscribe_bench.lab.program import environment
from sqscribe_bench.lab.run import BenchError

__all__ = ["ALLOWED", "Texts", "compared", "verdict"]

#: Word errors against the CPU's text that a type may have, as a share of its words. Near-ties fall otherwise.
ALLOWED = {"float32": 0.005, "float16": 0.02, "bfloat16": 0.04}
_ALLOWED_ELSE = 0.04
#: From this share on, the device does not compute what it should.
_BEYOND_USE = 0.25
#: Of the demonstration's clips, those as long as a breath or two.
_CLIP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class TextSettings:
    """What the program is to do.

    Attributes:
        models: `demo`, or folders of released models.
        compute_types: Of the device, each is compared.
        lines: File for what was found.
    """

    models: Sequence[str]
    device: str
    compute_types: Sequence[str]
    lines: str


@dataclass(frozen=True, slots=True)
class Texts:
    """How far one model's texts on the device are from the CPU's.

    Attributes:
        clips: How many clips there are.
        same: How many have the very same text.
        words: Words of the CPU's texts.
        errors: Words by which the device's differ.
    """

    model: str
    compute_type: str
    clips: int
    same: int
    words: int
    errors: int

    @property
    def share(self) -> float:
        """Errors for each word; 1 where the CPU heard nothing, which proves nothing."""
        return self.errors / self.words if self.words else 1.0


def compared(model: str, compute_type: str, wanted: Sequence[str], found: Sequence[str]) -> Texts:
    """Compares texts, clip by clip."""
    pairs = list(zip(wanted, found, strict=True))
    return Texts(
        model=model,
        compute_type=compute_type,
        clips=len(pairs),
        same=sum(one == other for one, other in pairs),
        words=sum(count_words(one) for one, _ in pairs),
        errors=sum(word_errors(one, other) for one, other in pairs),
    )


def verdict(found: Sequence[Texts]) -> ExitCode:
    """What the program ends with."""
    if any(each.share > _BEYOND_USE for each in found):
        return ExitCode.UNFIT_NODE
    close = all(each.share <= ALLOWED.get(each.compute_type, _ALLOWED_ELSE) for each in found)
    return ExitCode.DONE if close else ExitCode.JOBS_FAILED


def main() -> None:
    """Does what the settings say, and ends."""
    settings = TextSettings(**json.loads(sys.argv[1]))
    lines = LineFile(Path(settings.lines))
    found = []
    for model in settings.models:
        clips = _clips(model)
        wanted = _texts(model, "cpu", "float32", clips)
        for compute_type in settings.compute_types:
            texts = compared(model, compute_type, wanted, _texts(model, settings.device, compute_type, clips))
            lines.add(asdict(texts))
            found.append(texts)
            print(f"{texts} on {settings.device}", flush=True)
    sys.exit(verdict(found))


def _clips(model: str) -> list[Path]:
    if model != "demo":
        return [speech.path for speech in speeches()]
    short = [clip.path for clip in demo_clips() if clip.text and 0 < clip.seconds <= _CLIP_SECONDS]
    return [*(clip.path for clip in control_clips()), *short]


def _texts(model: str, device: str, compute_type: str, clips: Sequence[Path]) -> list[str]:
    """The text of each clip, by the pipeline that a worker has.

    Raises:
        BenchError: It did not come to an end; with the engine's reason.
    """
    with TemporaryDirectory(prefix="sqscribe-bench-") as folder:
        where = ["--model", model, "--device", device, "--compute-type", compute_type]
        how = ["--language", "en", "--temperature", "0", "--format", "txt", "--output", folder]
        command = [sys.executable, "-P", "-m", "sqscribe", "transcribe", *map(str, clips), *where, *how]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            print(done.stdout + done.stderr, flush=True)
            if done.returncode == ExitCode.UNFIT_NODE:
                sys.exit(ExitCode.UNFIT_NODE)
            raise BenchError(f"{model}, {compute_type} on {device}: exit code {done.returncode}")
        return [(Path(folder) / f"{clip.stem}.txt").read_text("utf-8").strip() for clip in clips]


if __name__ == "__main__":
    main()
