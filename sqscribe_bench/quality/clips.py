# SPDX-License-Identifier: Apache-2.0
"""The words and word times of sqscribe and of faster-whisper, over the demo's clips or a folder of recordings.

The clips were chosen because the bundled model transcribes them, and because sqscribe hears every word
(docs/demo-model.md): the table shows what sqscribe does to a model's results, not how good the model is, and its word
error rates are no contest. With --media and --model it takes other recordings and models:
beside each file stands `<stem>.json` with `words`, a list of `{word, start, end}` in seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import jiwer
from faster_whisper import BatchedInferencePipeline, WhisperModel
from rich.console import Console
from rich.table import Table

from sqscribe import bundled
from sqscribe.bundled import Expected, SpokenWord

__all__ = ["compare"]

#: faster-whisper's ways; conditioning on previous text is left out, since sqscribe's windows are independent as well.
_MODES: dict[str, tuple[bool, dict[str, Any]]] = {
    "faster-whisper, sequential": (False, {"without_timestamps": False, "condition_on_previous_text": False}),
    "faster-whisper, sequential, no timestamps": (
        False,
        {"without_timestamps": True, "condition_on_previous_text": False},
    ),
    "faster-whisper, batched": (True, {"without_timestamps": False}),
    "faster-whisper, batched, no timestamps": (True, {"without_timestamps": True}),
}


@dataclass(frozen=True, slots=True)
class Recording:
    """A media file and what is said in it."""

    path: Path
    seconds: float
    words: tuple[SpokenWord, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What one engine heard in all recordings: words with times, in the same order, and the seconds it took."""

    name: str
    heard: tuple[tuple[SpokenWord, ...], ...]
    took: float


def compare(arguments: argparse.Namespace) -> None:
    """Prints a table, or one JSON object a line."""
    recordings = list(_recordings(arguments.media))
    rows = [_figures(recordings, run) for run in _runs(recordings, arguments)]
    if arguments.json:
        for row in rows:
            print(json.dumps(row))
        return
    minutes = sum(recording.seconds for recording in recordings) / 60
    table = Table(title=f"{len(recordings)} recordings, {minutes:.1f} min, {_total(recordings)} words")
    for column in ("", "word error rate", "word starts: median", "mean", "95 %", "bias", "x real time"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['word_error_rate']:.2%}",
            *(f"{1000 * row[key]:.0f} ms" for key in ("start_median", "start_mean", "start_p95", "start_bias")),
            f"{row['speed']:.0f}",
        )
    Console(width=140 if not sys.stdout.isatty() else None).print(table)


def _recordings(folder: Path | None) -> Iterator[Recording]:
    if folder is None:
        for clip in bundled.demo_clips():
            if clip.expected is Expected.TRANSCRIPT:
                yield Recording(clip.path, clip.seconds, clip.words)
        return
    for path in sorted(folder.iterdir()):
        truth = path.with_suffix(".json")
        if path.suffix not in {".json", ".txt"} and truth.exists():
            known = json.loads(truth.read_text("utf-8"))
            yield Recording(path, known["duration"], _words(known["words"]))


def _runs(recordings: list[Recording], arguments: argparse.Namespace) -> Iterator[Run]:
    yield _sqscribe(recordings, arguments)
    name = str(bundled.model_path()) if arguments.model == "demo" else arguments.model
    model = WhisperModel(name, device=arguments.device, compute_type=arguments.compute_type)
    pipeline = BatchedInferencePipeline(model)
    for mode, (batched, options) in _MODES.items():
        began = time.monotonic()
        heard = []
        for recording in recordings:
            shared = {"language": arguments.language, "word_timestamps": True, "vad_filter": True, **options}
            segments, _ = (
                pipeline.transcribe(str(recording.path), batch_size=arguments.batch_size, **shared)
                if batched
                else model.transcribe(str(recording.path), **shared)
            )
            words = (word for segment in segments for word in segment.words)
            heard.append(tuple(SpokenWord(_bare(word.word), word.start, word.end) for word in words))
        yield Run(mode, tuple(heard), time.monotonic() - began)


def _sqscribe(recordings: list[Recording], arguments: argparse.Namespace) -> Run:
    """The public command in a process of its own; its time includes the start."""
    with TemporaryDirectory() as folder:
        began = time.monotonic()
        subprocess.run(
            [
                *(sys.executable, "-P", "-m", "sqscribe", "transcribe", "--word-timestamps", "--output", folder),
                *("--model", arguments.model, "--language", arguments.language, "--device", arguments.device),
                *("--compute-type", arguments.compute_type, "--batch-size", str(arguments.batch_size)),
                *(str(recording.path) for recording in recordings),
            ],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        took = time.monotonic() - began
        masters = (Path(folder) / f"{recording.path.stem}.json" for recording in recordings)
        segments = (json.loads(master.read_text("utf-8"))["segments"] for master in masters)
        heard = tuple(_words(word for segment in each for word in segment["words"]) for each in segments)
    return Run("sqscribe", heard, took)


def _figures(recordings: list[Recording], run: Run) -> dict[str, Any]:
    """One row of the table: rates from 0, times in seconds; word starts of the words heard right."""
    said = [" ".join(word.word for word in recording.words) for recording in recordings]
    heard = [" ".join(word.word for word in words) for words in run.heard]
    alignment = jiwer.process_words(said, heard)
    late = [
        words[chunk.hyp_start_idx + step].start - recording.words[chunk.ref_start_idx + step].start
        for recording, words, chunks in zip(recordings, run.heard, alignment.alignments, strict=True)
        for chunk in chunks
        if chunk.type == "equal"
        for step in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    off = sorted(map(abs, late))
    return {
        "name": run.name,
        "word_error_rate": alignment.wer,
        "start_median": median(off),
        "start_mean": mean(off),
        "start_p95": off[int(0.95 * len(off))],
        "start_bias": mean(late),
        "speed": sum(recording.seconds for recording in recordings) / run.took,
    }


def _words(words: Iterable[dict[str, Any]]) -> tuple[SpokenWord, ...]:
    return tuple(SpokenWord(_bare(word["word"]), word["start"], word["end"]) for word in words)


def _bare(word: str) -> str:
    return word.strip().lower().strip(".,!?")


def _total(recordings: list[Recording]) -> int:
    return sum(len(recording.words) for recording in recordings)
