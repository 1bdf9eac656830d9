# SPDX-License-Identifier: Apache-2.0
"""What sqscribe's own stages hear in a media file, in this process."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from stages.assemble import assemble
from stages.decode import DecodeLimits, Decoder
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import DecodeOptions, DecodeTask, EngineEvent, EngineSettings, Progress, WindowDone
from stages.inference.whisper.decoder import WhisperDecoder
from stages.ports import Cancellation
from stages.segment import Segmenter
from stages.values import Source

_LONGEST = 3600.0
_BEAM_SIZE = 5
_JOB = "clip"


class Engine:
    """The stages from the media file to the transcript, with the bundled model on CPU in int8."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        self._decoder = Decoder(DecodeLimits(_LONGEST))
        self._segmenter = Segmenter()
        settings = EngineSettings(str(model), name="demo", device="cpu", compute_type="int8", cpu_threads=threads)
        self._whisper = WhisperDecoder.load(settings)

    def hear(self, media: Path) -> list[str]:
        """The words heard in a file."""
        source = Source(media, media.stat().st_size, sha256="")
        options = DecodeOptions("en", "transcribe", initial_prompt=None, hotwords=None, beam_size=_BEAM_SIZE)
        going_on = Cancellation()
        with TemporaryDirectory() as folder:
            audio = self._decoder.decode(source, Path(folder), _Plenty(), going_on)
            windows = self._segmenter.segment(audio, vad=True, cancellation=going_on)
            events: list[EngineEvent | Progress] = []
            scheduler = Scheduler(self._whisper, events.append, retry_seconds=0.0)
            scheduler.add(DecodeTask(_JOB, str(audio.path), windows.windows, options))
            while batch := scheduler.take(self._whisper.info.batch_size, timeout=0.0):
                scheduler.give(batch, self._whisper.run(batch.rows))
        results = {event.result.index: event.result for event in events if isinstance(event, WindowDone)}
        return assemble(windows, results, "en", None).text.split()


class _Plenty:
    """Scratch space for any clip."""

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Grants it."""
