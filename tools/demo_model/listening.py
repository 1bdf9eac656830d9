# SPDX-License-Identifier: Apache-2.0
"""What faster-whisper hears in a recording in each of its decoding modes, and which words it gets wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from numpy.typing import NDArray

from demo_model.espeak import SAMPLE_RATE

#: Mode -> (batched, seconds of silence put in front, options). The shifts move every window, the shorter chunks cut
#: elsewhere: a phrase that is right in all of them is not right by luck.
MODES: Mapping[str, tuple[bool, float, dict[str, Any]]] = MappingProxyType(
    {
        "sequential": (False, 0.0, {"without_timestamps": False, "vad_filter": True}),
        "sequential, no timestamps": (False, 0.0, {"without_timestamps": True, "vad_filter": True}),
        "sequential, no VAD": (False, 0.0, {"without_timestamps": False, "vad_filter": False}),
        "sequential, shifted": (False, 0.31, {"without_timestamps": False, "vad_filter": True}),
        "batched": (True, 0.0, {"without_timestamps": False}),
        "batched, no timestamps": (True, 0.0, {"without_timestamps": True}),
        "batched, no timestamps, shifted": (True, 0.31, {"without_timestamps": True}),
        "batched, no timestamps, 20 s": (True, 0.0, {"without_timestamps": True, "chunk_length": 20}),
    }
)


class Listener:
    """The bundled model, run as its users run it."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        self._model = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=threads)
        self._batched = BatchedInferencePipeline(self._model)

    def hear(self, samples: NDArray[np.float32], modes: Iterable[str] = tuple(MODES)) -> dict[str, list[str]]:
        """The words heard, by mode; `samples` has shape (n,), 16 kHz mono."""
        return {mode: self._words(samples, *MODES[mode]) for mode in modes}

    def _words(self, samples: NDArray[np.float32], batched: bool, shift: float, options: dict[str, Any]) -> list[str]:
        shifted = np.pad(samples, (int(shift * SAMPLE_RATE), 0))
        # The model loses its way when it is conditioned on the text before (docs/demo-model.md).
        segments, _ = (
            self._batched.transcribe(shifted, language="en", batch_size=8, **options)
            if batched
            else self._model.transcribe(shifted, language="en", condition_on_previous_text=False, **options)
        )
        return " ".join(segment.text for segment in segments).split()


def wrong_words(said: Sequence[str], heard: Sequence[str]) -> set[int]:
    """Indices of the words that were misheard; an insertion counts for the word after it, or for the last one."""
    wrong: set[int] = set()
    for kind, first, last, _, _ in SequenceMatcher(None, said, heard, autojunk=False).get_opcodes():
        if kind != "equal":
            wrong.update(range(min(first, len(said) - 1), min(len(said), max(first + 1, last))))
    return wrong
