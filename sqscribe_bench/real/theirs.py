# SPDX-License-Identifier: Apache-2.0
"""faster-whisper in its two ways; what it said before is not asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel

from sqscribe_bench.real.audio import RATE, read
from sqscribe_bench.real.cache import Cache
from sqscribe_bench.real.contender import ModelSetup, RecordingTask
from sqscribe_bench.real.heard import Heard

__all__ = ["FasterWhisper"]

#: Seconds of a window where nothing is left out.
_WINDOW = 30.0


class FasterWhisper:
    """One window after another, or several at a time.

    It has the settings that its authors chose, so its batched way writes no timestamps, which loses less; but text
    before is no prompt for text behind, since sqscribe's windows are independent too, and there is VAD.

    Args:
        engine: What it runs on.
        cache: Keeps what it said, by model, sound, options and version.
        batched: Several windows at a time.
    """

    def __init__(self, engine: ModelSetup, cache: Cache, *, batched: bool) -> None:
        self._engine = engine
        self._cache = cache
        self._batched = batched

    def hear(self, tasks: Sequence[RecordingTask]) -> list[Heard]:
        """One transcript a task, each by itself."""
        return [self._hear(task) for task in tasks]

    def _hear(self, task: RecordingTask) -> Heard:
        key = {
            "model": self._model_digest,
            "sound": _digest(task.path),
            "options": dict(task.options),
            "engine": [self._engine.device, self._engine.compute_type],
            "batched": {"size": self._engine.batch_size} if self._batched else None,
            "versions": [version("faster-whisper"), version("ctranslate2")],
        }
        answer = self._cache.told(key, lambda: json.dumps(self._transcribe(task)))
        return Heard.from_json(json.loads(answer))

    def _transcribe(self, task: RecordingTask) -> dict[str, Any]:
        sound, options = read(task.path), dict(task.options)
        vad = options.pop("vad", True)
        settings = {"word_timestamps": task.timed, "vad_filter": vad, **options}
        if self._batched:
            settings["batch_size"] = self._engine.batch_size
            if not vad:
                starts = range(0, len(sound), round(_WINDOW * RATE))
                ends = (min(start / RATE + _WINDOW, len(sound) / RATE) for start in starts)
                settings["clip_timestamps"] = [
                    {"start": start / RATE, "end": end} for start, end in zip(starts, ends, strict=True)
                ]
            segments, info = BatchedInferencePipeline(self._model).transcribe(sound, **settings)
        else:
            segments, info = self._model.transcribe(sound, condition_on_previous_text=False, **settings)
        return {"language": info.language, "segments": [_segment(segment) for segment in segments]}

    @cached_property
    def _model(self) -> Any:
        return WhisperModel(self._engine.model, device=self._engine.device, compute_type=self._engine.compute_type)

    @cached_property
    def _model_digest(self) -> str:
        weights = Path(self._engine.model) / "model.bin"
        return _digest(weights) if weights.is_file() else self._engine.model


def _segment(segment: Any) -> dict[str, Any]:
    return {
        "start": float(segment.start),
        "end": float(segment.end),
        "text": segment.text,
        "words": [
            {"word": word.word, "start": float(word.start), "end": float(word.end)} for word in segment.words or ()
        ],
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
