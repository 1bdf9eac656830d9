# SPDX-License-Identifier: Apache-2.0
"""The engine alone: every recording is decoded, segmented and cut before the clock starts, and lies in memory.

Started as a process with what to do as a JSON object. It says `ready`, waits for a line, works, and answers with one.
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
from sqscribe_bench.programs.feed import Feed
from stages.decode import DecodeLimits, Decoder
from stages.inference.engine.memory import share_one_arena
from stages.inference.protocol import DecodeOptions, DecodeTask, EngineSettings
from stages.inference.whisper.decoder import WhisperDecoder
from stages.ports import Cancellation
from stages.segment import Segmenter
from stages.values import Source, Windows

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
#: PCM bytes for a byte of mp3 at 64 kbit/s, and then some.
_EXPANSION = 5
_LONGEST_SECONDS = 43_200


@dataclass(frozen=True, slots=True)
class Order:
    """What the benchmark asks for.

    Attributes:
        recordings: Paths of media files.
        batch_size: Windows of a batch; None: the worker's own choice.
        cores: Threads of the engine on a CPU.
        sweep: Batch sizes to be tried instead.
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
    """What came out, in how many seconds, and how many windows and batches that took."""

    seconds: float
    rows: int
    batches: int
    text_words: int


class _NoLimit:
    """As much scratch as there is memory."""

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Grants it."""


def main() -> None:
    """Does what the order says, and ends."""
    share_one_arena()
    configure("json", "warning")
    order = Order(**json.loads(sys.argv[1]))
    with _memory(order.recordings) as folder:
        cut = _cut(order.recordings, folder, order.cores)
        decoder = WhisperDecoder.load(
            EngineSettings(
                model=order.folder,
                name="limit",
                device=order.device,
                compute_type=order.compute_type,
                batch_size=order.batch_size,
                cpu_threads=order.cores,
                beam_size=order.beam_size,
            )
        )
        size = order.batch_size or decoder.info.batch_size
        _decode(decoder, cut[:1], size, order)
        if order.sweep:
            _say({size: _decode(decoder, cut, size, order).seconds for size in order.sweep})
            return
        _say("ready")
        sys.stdin.readline()
        done = _decode(decoder, cut, size, order)
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
    decoder, segmenter = Decoder(DecodeLimits(max_seconds=_LONGEST_SECONDS)), Segmenter()

    def cut(number: int, path: Path) -> Windows:
        own = folder / str(number)
        own.mkdir()
        source = Source(path, path.stat().st_size, sha256="")
        audio = decoder.decode(source, own, _NoLimit(), Cancellation())
        return segmenter.segment(audio, True, Cancellation())  # noqa: FBT003 - vad

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(cut, range(len(recordings)), map(Path, recordings)))


def _decode(decoder: WhisperDecoder, cut: Sequence[Windows], size: int, order: Order) -> Done:
    """All windows, in batches of up to `size`, as the inference process does it."""
    options = DecodeOptions(order.language, "transcribe", None, None, order.beam_size)
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
