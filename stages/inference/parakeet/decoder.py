# SPDX-License-Identifier: Apache-2.0
"""The Parakeet decoder: rows in, texts with times out, each in one go."""

from __future__ import annotations

from statistics import fmean

import torch

from sqscribe.errors import ErrorCode
from stages.inference.abilities import inability
from stages.inference.engine.comparison import Incomparable
from stages.inference.engine.rows import BatchKey, EngineJob, Finished, JobRefused, Outcome, Row
from stages.inference.judge.coverage import leaves_speech_out, missing_speech
from stages.inference.parakeet.features import LogMel
from stages.inference.parakeet.model import LoadedModel, load_model
from stages.inference.parakeet.transducer import Emitted
from stages.inference.parakeet.words import words_of
from stages.inference.protocol import DecodeOptions, EngineInfo, EngineSettings
from stages.inference.whisper.attempt import compression_ratio
from stages.inference.whisper.audio import read_window
from stages.inference.whisper.segments import cut_segments
from stages.values import Window, WindowResult

__all__ = ["ParakeetDecoder"]

#: Nothing keeps rows apart: there are no prompts, no beams and no temperatures.
_KEY = BatchKey("decode")


class ParakeetDecoder:
    """Implements `stages.inference.engine.rows.WindowDecoder`.

    Args:
        model: The loaded model.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._log_mel = LogMel(model.shape.n_mels, model.device)

    @classmethod
    def load(cls, settings: EngineSettings) -> ParakeetDecoder:
        """Loads the model in the folder that the settings name.

        Raises:
            UnfitNodeError: The device or the model cannot be had.
        """
        return cls(load_model(settings))

    @property
    def info(self) -> EngineInfo:
        """What runs, and what it can do."""
        return self._model.info

    @property
    def parallel(self) -> int:
        """One batch at a time."""
        return 1

    def open(self, job_key: str, pcm_path: str, options: DecodeOptions) -> EngineJob | JobRefused:
        """Takes a job in, unless it asks for what a transducer does not have."""
        why = inability(self.info, options)
        return JobRefused(ErrorCode.UNSUPPORTED_OPTION, why) if why else EngineJob(job_key, pcm_path, options)

    def rows(self, job: EngineJob, windows: tuple[Window, ...], *, probe: bool, language: str | None) -> list[Row]:
        """Fresh rows for windows; none is ever to be probed."""
        if probe or language is None:
            raise ValueError("Parakeet cannot tell which language is spoken")
        return [Row(job, window, _KEY, language) for window in windows]

    def settled(self, row: Row, language: str) -> Row:
        """The row in another language, which changes nothing else."""
        row.language = language
        return row

    def run(self, rows: list[Row]) -> list[Outcome]:
        """Decodes rows. Each is finished at once.

        Raises:
            FileNotFoundError: A job's PCM file is gone.
        """
        mel, frames = self._log_mel([read_window(row.job.pcm_path, row.window) for row in rows])
        emitted = self._model.transducer.decode(mel.to(self._model.dtype), frames)
        return [
            Finished(row.job.job_key, self._result(row.window, row.language or "", tokens))
            for row, tokens in zip(rows, emitted, strict=True)
        ]

    def relieve(self) -> None:
        """Gives back what torch keeps for later."""
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def compare(self, _pcm_path: str, _window: Window, _language: str, _text: str) -> Incomparable:
        """Has nothing to compare with."""
        return Incomparable("Parakeet is computed in one way alone")

    def _result(self, window: Window, language: str, emitted: list[Emitted]) -> WindowResult:
        words = words_of(emitted, self._model.vocabulary.piece, self._model.shape.frame_seconds, window.seconds)
        holes = missing_speech(words, window)
        return WindowResult(
            index=window.index,
            language=language,
            language_probability=None,
            segments=cut_segments(words),
            avg_logprob=fmean(each.logprob for each in emitted) if emitted else 0.0,
            compression_ratio=compression_ratio("".join(word.word for word in words).strip()),
            no_speech_prob=0.0 if words else 1.0,
            temperature=0.0,
            missing=tuple((hole.start, hole.end) for hole in holes) if leaves_speech_out(holes) else (),
        )
