# SPDX-License-Identifier: Apache-2.0
"""Measure the CPU that everything before inference costs, against what faster-whisper's users pay for the same.

Ours is decoding, the voice activity detector and the cut by themselves, and then a whole worker (queue in memory, a
folder as the store, an engine that does nothing). Theirs is ffmpeg or faster-whisper's own `decode_audio`, then its
detector with the settings of its batched pipeline, and its log-mel features, which for us are made in the inference
process. Both take the same MP3 files, which are put together from the bundled clips, in turns. Seconds are of user
and system time, with those of child processes, so that they mean something on a machine that does other work as well.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import faster_whisper
import ffmpeg
import numpy as np
import onnxruntime
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.vad import VadOptions, collect_chunks, get_speech_timestamps
from rich.console import Console
from rich.table import Table

from sqscribe import bundled
from sqscribe.job import Job
from sqscribe.logs import configure
from sqscribe.result import RESULT_NAME, Result
from sqscribe_bench.lab.pcm import Pcm, encode
from sqscribe_bench.lab.preparation import Preparation
from sqscribe_bench.lab.speech import ClipCutter
from stages.ffmpeg import find_ffmpeg
from stages.values import SAMPLE_RATE
from worker.build import build_worker
from worker.connect import Connections
from worker.local import OUTPUT
from worker.node.clock import SystemClock
from worker.queues import Outgoing
from worker.queues.memory import MemoryQueue
from worker.receive.messages import Parsed
from worker.settings import read_settings
from worker.stores.folder import FolderStore
from worker.testing.engine import FakeEngine

#: How the files are encoded, by turns: like a podcast, like a recorded talk, like a recorded call.
_ENCODINGS = (
    ("-ar", "44100", "-ac", "2", "-b:a", "128k"),
    ("-ar", "44100", "-b:a", "64k"),
    ("-b:a", "32k"),
)
#: Seconds of the pieces that files are put together from, and of the pauses between them.
_PIECES, _PAUSES = (5.0, 60.0), (0.2, 6.0)
#: Factors by which a piece is made quieter.
_LOUDNESS = (0.4, 1.0)
#: The options of faster-whisper's batched pipeline.
_THEIR_VAD = VadOptions(max_speech_duration_s=30, min_silence_duration_ms=160)
#: The cost of one job is the difference between so many jobs with a short clip and a quarter of them.
_JOBS = 400
_CLIP = "hello.wav"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file to transcribe, and its length."""

    path: Path
    seconds: float


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m sqscribe_bench.frontend", description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[40, 30, 20], help="lengths of the files")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    arguments = parser.parse_args()
    configure("json", "error")
    with TemporaryDirectory(prefix="frontend-") as folder:
        recordings = list(_recordings(Path(folder), [60 * minutes for minutes in arguments.minutes]))
        rounds = [_round(recordings) for _ in range(arguments.rounds)]
    hours = sum(recording.seconds for recording in recordings) / 3600
    figures = {name: median(each[name] for each in rounds) / hours for name in rounds[0]}
    job = median(_job_cost() for _ in range(arguments.rounds))
    if arguments.json:
        print(json.dumps({"hours": hours, "cpu_seconds_per_hour": figures, "cpu_seconds_per_job": job}))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_table(figures, hours, arguments.rounds))
    console.print(f"a job with a WAV of 6 s, all it costs but the engine: {job * 1000:.1f} ms")
    console.print(_machine())
    return 0


# -- files ---------------------------------------------------------------------------------------------------------


def _recordings(folder: Path, lengths: Sequence[float]) -> Iterator[MediaFile]:
    """Makes files of about these lengths from pieces of the bundled clips, the same every time."""
    rng = random.Random(5)
    cutter = ClipCutter(rng)
    for number, seconds in enumerate(lengths):
        parts: list[Pcm] = []
        while sum(map(len, parts)) < seconds * SAMPLE_RATE:
            parts.append(cutter.cut(cutter.track(), rng.uniform(*_PIECES), _LOUDNESS))
            parts.append(np.zeros(int(rng.uniform(*_PAUSES) * SAMPLE_RATE), np.int16))
        pcm = np.concatenate(parts)
        path = folder / f"file-{number}.mp3"
        encode(pcm, *_ENCODINGS[number % len(_ENCODINGS)], str(path))
        yield MediaFile(path, len(pcm) / SAMPLE_RATE)


# -- parts ---------------------------------------------------------------------------------------------------------


class CpuMeter:
    """Adds up CPU seconds by the name of what took them."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the CPU seconds of what happens inside to a name's."""
        begun = _cpu()
        yield
        self.spent[name] = self.spent.get(name, 0.0) + _cpu() - begun


def _round(recordings: Sequence[MediaFile]) -> dict[str, float]:
    """CPU seconds of every part, over all recordings."""
    meter = CpuMeter()
    for recording in recordings:
        _theirs(recording, meter)
        _ours(recording, meter)
    with meter("our worker"):
        _work([str(recording.path) for recording in recordings])
    return meter.spent


def _theirs(recording: MediaFile, meter: CpuMeter) -> None:
    with meter("their ffmpeg"):
        _their_ffmpeg(recording.path)
    with meter("their decode_audio"):
        samples = faster_whisper.decode_audio(str(recording.path))
    with meter("their detector"):
        spoken = get_speech_timestamps(samples, _THEIR_VAD)
        chunks, _ = collect_chunks(samples, spoken, max_duration=30)
    extractor = FeatureExtractor()
    with meter("their log-mel"):
        for chunk in chunks:
            extractor(chunk)


def _their_ffmpeg(path: Path) -> bytes:
    output = ffmpeg.input(str(path)).output("pipe:1", format="s16le", ac=1, ar=SAMPLE_RATE)
    command = output.global_args("-nostdin", "-loglevel", "error").compile(find_ffmpeg())
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def _ours(recording: MediaFile, meter: CpuMeter) -> None:
    with TemporaryDirectory() as folder:
        preparation = Preparation()
        with meter("our decoding"), preparation:  # what a process used counts once it has ended
            audio = preparation.decode(recording.path, Path(folder))
        with meter("our detector and cut"):
            preparation.segment(audio)


def _work(sources: Sequence[str]) -> None:
    """Takes jobs through a worker whose engine gives no text."""
    jobs = {
        f"job-{number}": Job(source=source, job_id=f"job-{number}", output=OUTPUT)
        for number, source in enumerate(sources)
    }
    queue = MemoryQueue(SystemClock(), visibility_timeout=300)
    for job_id in jobs:
        queue.send(None, Outgoing(job_id))
    settings = read_settings(model="demo", device="cpu", http_port=0, log_level="error")
    with TemporaryDirectory() as folder:
        connections = Connections(
            queue=queue,
            store=FolderStore(Path(folder)),
            parse=lambda message: Parsed(jobs=(jobs[message.body],)),
            allow_local=True,
        )
        worker = build_worker(
            settings,
            lambda _settings, _metrics: connections,
            lambda _settings, clock: FakeEngine(clock, text=lambda _task, _window: ""),
        )

        def finished() -> bool:
            if queue:
                return False
            queue.close()
            return True

        code = worker.run(until=finished)
        results = [Result.from_json(path.read_bytes()) for path in Path(folder).rglob(RESULT_NAME)]
    if code or len(results) != len(jobs) or not all(result.succeeded for result in results):
        raise SystemExit(f"the worker did not do its jobs: exit code {code}, {len(results)} results")


def _job_cost() -> float:
    """CPU seconds of a job with a short clip, without what a worker costs that does nothing."""
    (clip,) = (str(clip.path) for clip in bundled.demo_clips() if clip.path.name == _CLIP)
    spent = []
    for jobs in (_JOBS // 4, _JOBS):
        begun = _cpu()
        _work([clip] * jobs)
        spent.append(_cpu() - begun)
    return (spent[1] - spent[0]) / (_JOBS - _JOBS // 4)


def _cpu() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


# -- what came out -------------------------------------------------------------------------------------------------


def _table(figures: dict[str, float], hours: float, rounds: int) -> Table:
    rest = figures["our worker"] - figures["our decoding"] - figures["our detector and cut"]
    shared = figures["their detector"] + figures["their log-mel"]
    rows: list[tuple[str, float | None, float | None]] = [
        ("decode, against ffmpeg", figures["our decoding"], figures["their ffmpeg"]),
        ("decode, against decode_audio", figures["our decoding"], figures["their decode_audio"]),
        ("find speech; ours: cut", figures["our detector and cut"], figures["their detector"]),
        ("log-mel", None, figures["their log-mel"]),
        ("receive, publish, all else", rest, None),
        ("all, against ffmpeg", figures["our worker"], shared + figures["their ffmpeg"]),
        ("all, against decode_audio", figures["our worker"], shared + figures["their decode_audio"]),
    ]
    table = Table(title=f"CPU seconds per hour of audio; {hours:.2f} h, median of {rounds}", title_justify="left")
    for column in ("", "ours", "theirs", "ours / theirs"):
        table.add_column(column, justify="right" if column else "left")
    for name, ours, theirs in rows:
        shown = ("-" if value is None else f"{value:.2f}" for value in (ours, theirs))
        table.add_row(name, *shown, f"{ours / theirs:.2f}" if ours is not None and theirs else "-")
    return table


def _machine() -> str:
    """The machine and the versions that the figures depend on."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = re.findall(r"^model name\s*: (.+)$", info, re.MULTILINE)
    program = subprocess.run([find_ffmpeg(), "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
    versions = f"ffmpeg {program}, onnxruntime {onnxruntime.__version__}, numpy {np.__version__}"
    return f"{len(models)} x {models[0] if models else '?'}; {versions}, faster-whisper {faster_whisper.__version__}"


if __name__ == "__main__":
    sys.exit(main())
