# SPDX-License-Identifier: Apache-2.0
"""Runs the engine alone on recordings that were decoded and cut before, and that lie in memory.

It is started with its settings as a JSON object. It says `ready`, waits for a line, works, and answers with one.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqscribe.logs import configure
from sqscribe_bench.lab.preparation import Preparation
from sqscribe_bench.programs.feed import Feed
from stages.inference.engine.memory import share_one_arena
from stages.inference.protocol import DecodeOptions, DecodeTask, EngineSettings
from stages.inference.whisper.decoder import WhisperDecoder
from stages.values import Windows

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
#: PCM bytes for each byte of mp3 at 64 kbit/s, rounded up.
_EXPANSION = 5


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What the program is to do.

    Attributes:
        recordings: Paths of media files.
        batch_size: Windows of a batch; None: the worker's own choice.
        cores: Threads of the engine on a CPU.
        sweep: Batch sizes that are tried instead.
    """

    folder: str
    device: str
    compute_type: str
    cores: int
    beam_size: int
    language: str
    recordings: Sequence[str]
    batch_size: int | None = None
    sweep: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """How long it took, how many windows and batches were decoded, and how many words came out."""

    seconds: float
    rows: int
    batches: int
    text_words: int


def main() -> None:
    """Does what the settings say, and ends."""
    share_one_arena()
    configure("json", "warning")
    settings = LimitSettings(**json.loads(sys.argv[1]))
    with _memory(settings.recordings) as folder:
        cut = _cut(settings.recordings, folder, settings.cores)
        decoder = WhisperDecoder.load(
            EngineSettings(
                model=settings.folder,
                name="limit",
                device=settings.device,
                compute_type=settings.compute_type,
                batch_size=settings.batch_size,
                cpu_threads=settings.cores,
                beam_size=settings.beam_size,
            )
        )
        size = settings.batch_size or decoder.info.batch_size
        _decode(decoder, cut[:1], size, settings)
        if settings.sweep:
            _say({size: _decode(decoder, cut, size, settings).seconds for size in settings.sweep})
            return
        _say("ready")
        sys.stdin.readline()
        done = _decode(decoder, cut, size, settings)
        _say(
            {
                "seconds": done.seconds,
                "windows": done.rows,
                "text_words": done.text_words,
                "batch_size": size,
                "batch_windows": done.rows / max(1, done.batches),
                "parallel": decoder.parallel,
            }
        )
        sys.stdin.readline()  # the benchmark reads what this process used before it ends


def _cut(recordings: Sequence[str], folder: Path, threads: int) -> list[Windows]:
    preparation = Preparation()

    def cut(number: int, path: Path) -> Windows:
        own = folder / str(number)
        own.mkdir()
        return preparation.windows(path, own)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(cut, range(len(recordings)), map(Path, recordings)))


def _decode(decoder: WhisperDecoder, cut: Sequence[Windows], size: int, settings: LimitSettings) -> Done:
    """All windows, in batches of up to `size`, as the inference process does it."""
    options = DecodeOptions(settings.language, "transcribe", None, None, settings.beam_size)
    tasks = [
        DecodeTask(str(number), str(windows.audio.path), windows.windows, options)
        for number, windows in enumerate(cut)
        if windows.windows
    ]
    begun = time.perf_counter()
    fed = Feed(decoder, size).run(tasks)
    return Done(time.perf_counter() - begun, fed.rows, len(fed.batches), fed.text_words)


@contextmanager
def _memory(recordings: Sequence[str]) -> Iterator[Path]:
    """A folder in memory if there is room, else on disk, where the page cache does the same."""
    need = _EXPANSION * sum(Path(path).stat().st_size for path in recordings)
    fits = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 * need
    with TemporaryDirectory(prefix="sqscribe-bench-", dir=_MEMORY if fits else None) as folder:
        yield Path(folder)


def _say(what: object) -> None:
    print(what if isinstance(what, str) else json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
