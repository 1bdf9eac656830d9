# SPDX-License-Identifier: Apache-2.0
"""Measures one configuration of the engine at one batch size after another, on windows of 30 s that lie ready.

It is started with its settings as a JSON object. It answers with a line about itself once the model is loaded, a
line for each batch size, and an empty one.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sqscribe.errors import EngineBrokenError
from sqscribe.logs import configure
from sqscribe_bench.lab.trace import Span, busy_seconds
from sqscribe_bench.programs.feed import Fed, Feed, OutOfMemory
from sqscribe_bench.programs.memory import MemoryWatch, memory_in_use
from sqscribe_bench.programs.relapse import Relapse
from sqscribe_bench.programs.timed import TimedWhisper
from stages.inference.engine.batches import is_out_of_memory
from stages.inference.engine.memory import share_one_arena
from stages.inference.protocol import DecodeOptions, DecodeTask, EncoderChoice, EngineSettings
from stages.inference.whisper.audio import read_window
from stages.inference.whisper.batch_size import row_bytes, value_bytes
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.device import find_device
from stages.inference.whisper.features import LogMel
from stages.inference.whisper.model import LoadedModel, cpu_cores, load_model
from stages.values import SAMPLE_RATE, Piece, Window

_WINDOW = 30 * SAMPLE_RATE
_MEL_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """What the program is to do.

    Attributes:
        model: A folder, or a name that faster-whisper knows.
        device: `cpu` or `cuda`.
        parallel: Batches under way at once; None: the engine's own choice.
        pcm: File with windows, one after another.
        batch_sizes: In the order of measuring, which ends with one that does not fit into the device's memory.
        seconds: How long each size is measured, about.
        batches: On how many batches each size is measured, at least.
        relapse: One in so many windows is decoded again in one more run at the fastest size; 0: no such run.
        mel: Whether log-mel is timed by itself.
        encoder: What computes the encoder.
    """

    model: str
    device: str
    compute_type: str | None
    beam_size: int
    parallel: int | None
    pcm: str
    batch_sizes: Sequence[int]
    seconds: float
    batches: int
    relapse: int
    mel: bool
    encoder: EncoderChoice = "auto"
    language: str = "en"


class EngineMeasurement:
    """Loads an engine, and measures it.

    Args:
        settings: What is to be measured.

    Raises:
        UnfitNodeError: The device, a library or the model cannot be had.
    """

    def __init__(self, settings: SweepSettings) -> None:
        self._settings = settings
        device = find_device(settings.device)
        self._watch = MemoryWatch(partial(memory_in_use, device))
        self._before = memory_in_use(device)
        engine = EngineSettings(
            model=settings.model,
            name="engine",
            device=settings.device,
            compute_type=settings.compute_type,
            beam_size=settings.beam_size,
            encoder=settings.encoder,
        )
        model = load_model(engine, parallel=settings.parallel)
        self._loaded = memory_in_use(device)
        self._whisper = TimedWhisper(model.whisper)
        own = model.torch_encoder and self._whisper.timed("encode", model.torch_encoder)
        self._model = replace(model, whisper=self._whisper, torch_encoder=own)
        self._decoder = WhisperDecoder(self._model)
        self._stored = Path(settings.pcm).stat().st_size // (2 * _WINDOW)

    def about(self) -> dict[str, Any]:
        """Reports which model was loaded, and what that took."""
        model = self._model
        # The first batch finds kernels to compile, and allocates what stays.
        self._feed(self._decoder, 1, 1)
        return {
            "device": model.info.device,
            "uuid": _uuid(model),
            "compute_type": model.info.compute_type,
            "revision": model.info.revision,
            "parallel": model.parallel,
            "cores": cpu_cores(),
            "model_memory": self._loaded - self._before,
            "auto_batch_size": model.info.batch_size,
            "row_bytes": row_bytes(model.shape, self._settings.beam_size, value_bytes(model.info.compute_type)),
            "mel": self._mel() if self._settings.mel else {},
        }

    def points(self) -> Iterator[dict[str, Any]]:
        """Measures each batch size up to the first that fails, and then one run with windows that are decoded again."""
        speeds: dict[int, float] = {}
        for size in self._settings.batch_sizes:
            point = self._point(self._decoder, size, 0)
            yield point
            if "failure" in point:
                break
            speeds[size] = point["windows"] / point["seconds"]
        if speeds and self._settings.relapse:
            decoder = WhisperDecoder(self._model, judge=Relapse(self._settings.relapse))
            yield self._point(decoder, max(speeds, key=speeds.__getitem__), self._settings.relapse)

    def _point(self, decoder: WhisperDecoder, size: int, relapse: int) -> dict[str, Any]:
        start = {"batch_size": size, "relapse": relapse}
        try:
            # Few windows would hold few that relapse, or none.
            return start | self._measured(decoder, size, math.ceil(2 * relapse / size))
        except OutOfMemory as error:
            return start | {"failure": str(error), "out_of_memory": True}
        except EngineBrokenError as error:
            return start | {"failure": str(error)}

    def _measured(self, decoder: WhisperDecoder, size: int, least: int) -> dict[str, Any]:
        parallel = self._model.parallel
        warm = self._feed(decoder, size, parallel)
        rounds = math.ceil(self._settings.seconds / max(warm.seconds, 1e-6))
        count = parallel * max(rounds, math.ceil(max(self._settings.batches, least) / parallel))
        self._whisper.seconds()
        cpu = time.process_time()
        with self._watch.watching():
            fed = self._feed(decoder, size, count)
        cpu = time.process_time() - cpu
        took = sorted(each.ended - each.began for each in fed.batches if each.kind == "decode")
        spans = [Span("batch", each.kind, each.began, each.ended) for each in fed.batches]
        return {
            "windows": len(fed.results),
            "rows": fed.rows,
            "batches": len(fed.batches),
            "began": min(span.start for span in spans),
            "seconds": fed.seconds,
            "under_way": busy_seconds(spans) / fed.seconds,
            "batch_median": median(took),
            "batch_p95": took[math.ceil(0.95 * len(took)) - 1],
            "cpu_seconds": cpu,
            "peak_memory": self._watch.peak - self._before,
            "text_words": fed.text_words,
            **self._whisper.seconds(),
        }

    def _feed(self, decoder: WhisperDecoder, size: int, batches: int) -> Fed:
        options = DecodeOptions(self._settings.language, "transcribe", None, None, self._settings.beam_size)
        task = DecodeTask("job", self._settings.pcm, tuple(map(self._window, range(size * batches))), options)
        return Feed(decoder, size, small_batches=False).run([task])

    def _window(self, index: int) -> Window:
        piece = Piece(0, index % self._stored * _WINDOW, _WINDOW)
        return Window(index, (piece,), speech=_WINDOW, speech_end=_WINDOW)

    def _mel(self) -> dict[int, list[float]]:
        """Seconds of a batch's log-mel by batch size: on the device, and on the host with the way to the device."""
        n_mels, device = self._model.shape.n_mels, self._model.device
        places = [LogMel(n_mels, device)]
        if device.type != "cpu":
            places.append(LogMel(n_mels, torch.device("cpu")))
        made: dict[int, list[float]] = {}
        for size in self._settings.batch_sizes:
            rows = [read_window(self._settings.pcm, self._window(index)) for index in range(size)]
            try:
                made[size] = [_seconds(place, rows, device) for place in places]
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                break
        self._decoder.relieve()
        return made


def main() -> None:
    """Does what the settings say, and ends."""
    share_one_arena()
    configure("json", "warning")
    bench = EngineMeasurement(SweepSettings(**json.loads(sys.argv[1])))
    _say(bench.about())
    for point in bench.points():
        _say(point)
    _say(None)


def _seconds(log_mel: LogMel, rows: Sequence[npt.NDArray[np.float32]], device: torch.device) -> float:
    """From samples to log-mel on the device: the median of a few rounds behind one that is not counted."""
    took = []
    for _ in range(1 + _MEL_ROUNDS):
        begun = time.perf_counter()
        log_mel(rows).to(device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - begun)
    return median(took[1:])


def _uuid(model: LoadedModel) -> str | None:
    """NVML's name of the GPU."""
    if model.device.type != "cuda":
        return None
    uuid = getattr(torch.cuda.get_device_properties(model.device), "uuid", None)  # an old torch does not tell
    return f"GPU-{uuid}" if uuid else None


def _say(what: dict[str, Any] | None) -> None:
    print(json.dumps(what) if what else "", flush=True)


if __name__ == "__main__":
    main()
