# SPDX-License-Identifier: Apache-2.0
"""What the real engine makes of recordings when nothing goes wrong."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from sqscribe import bundled
from sqscribe_bench.chaos.recordings import Transcribed
from sqscribe_bench.lab.preparation import Preparation
from stages.assemble import assemble
from stages.inference.client.client import EngineClient
from stages.inference.protocol import (
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    EngineFailed,
    EngineLost,
    EngineSettings,
    WindowDone,
)
from stages.values import WindowResult, Windows
from worker.node.clock import SystemClock

__all__ = ["COMPUTE_TYPE", "reference"]

#: On a CPU, in this type and at temperature 0 the text depends on nothing but the samples.
COMPUTE_TYPE = "float32"
#: Seconds until the next event of an engine that is at work.
_PATIENCE = 120.0


def reference(media: Iterable[bytes]) -> list[Transcribed | None]:
    """Transcribes recordings with the bundled model, one after another.

    Returns:
        None for a recording of which the model draws a word by chance, so that nothing can be demanded of it.

    Raises:
        RuntimeError: The engine fails.
    """
    settings = EngineSettings(
        model=str(bundled.model_path()),
        name="demo",
        device="cpu",
        compute_type=COMPUTE_TYPE,
        cpu_threads=1,
        log_level="error",
    )
    events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
    engine = EngineClient(settings, SystemClock())
    engine.start(events.put)
    try:
        with Preparation() as preparation:
            return [_transcribe(engine, events, preparation, number, each) for number, each in enumerate(media)]
    finally:
        engine.stop(10.0)


def _transcribe(
    engine: EngineClient, events: queue.SimpleQueue[EngineEvent], preparation: Preparation, number: int, media: bytes
) -> Transcribed | None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        source.write_bytes(media)
        windows = preparation.windows(source, folder)
        if not windows.windows:
            return Transcribed("", 0)
        options = DecodeOptions("en", "transcribe", None, None, beam_size=5)
        engine.submit(DecodeTask(str(number), str(windows.audio.path), windows.windows, options))
        results = _results(events, windows)
    if any(result.temperature > 0 for result in results.values()):
        return None
    return Transcribed(assemble(windows, results, "en", None).text, len(windows.windows))


def _results(events: queue.SimpleQueue[EngineEvent], windows: Windows) -> dict[int, WindowResult]:
    results: dict[int, WindowResult] = {}
    while len(results) < len(windows.windows):
        event = events.get(timeout=_PATIENCE)
        if isinstance(event, WindowDone):
            results[event.result.index] = event.result
        elif isinstance(event, EngineLost | EngineFailed):
            break
    if len(results) < len(windows.windows):
        raise RuntimeError(f"the engine fails without a fault: {event}")
    return results
