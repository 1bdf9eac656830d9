# SPDX-License-Identifier: Apache-2.0
"""The check at the start: a recording with a known text, taken through the same way as every job.

It has to compare words. With some pairs of driver and GPU, CTranslate2 raises nothing and answers with empty text,
a second after the other.
"""

from __future__ import annotations

import tempfile
import wave
from pathlib import Path

from sqscribe.errors import EngineBrokenError
from sqscribe.wer import count_words, word_errors
from stages.inference.engine.rows import Decoder
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    ControlClip,
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    JobRejected,
    Progress,
    WindowDone,
)
from stages.values import SAMPLE_RATE, Piece, Window

__all__ = ["MAX_SECONDS", "check", "word_error_rate"]

#: Longest control clip: it is decoded as one window.
MAX_SECONDS = 30.0

_JOB = "control"


def check(decoder: Decoder, clip: ControlClip, *, beam_size: int) -> float:
    """Transcribes the clip and compares.

    Args:
        decoder: The one that is to be relied on.
        clip: A WAV file of at most `MAX_SECONDS`, 16 kHz mono signed 16-bit.
        beam_size: As the jobs will have it.

    Returns:
        The word error rate, which is at most the clip's.

    Raises:
        EngineBrokenError: Another text came out, or none.
        ValueError: The clip is of another format.
    """
    pcm = _pcm(Path(clip.path))
    # A file, because a path and offsets are all that the decoder takes.
    with tempfile.TemporaryDirectory(prefix="sqscribe-control-") as folder:
        path = Path(folder, "clip.pcm")
        path.write_bytes(pcm)
        heard = _transcribe(decoder, path, len(pcm) // 2, beam_size)
    rate = word_error_rate(clip.text, heard)
    if not heard.strip() or rate > clip.max_error_rate:
        raise EngineBrokenError(
            f"the engine misheard its control recording (word error rate {rate:.2f}, at most "
            f"{clip.max_error_rate:.2f} is allowed): it wrote {heard.strip()!r} where {clip.text!r} is said. "
            "The driver, the GPU or the model on this node does not work; an empty text points to a driver that is "
            "too old for the GPU"
        )
    return rate


def word_error_rate(reference: str, heard: str) -> float:
    """Word errors per word of the reference; 1 for a reference without words unless nothing was heard either."""
    said = count_words(reference)
    return word_errors(reference, heard) / said if said else float(bool(count_words(heard)))


def _transcribe(decoder: Decoder, path: Path, samples: int, beam_size: int) -> str:
    events: list[EngineEvent | Progress] = []
    scheduler = Scheduler(decoder, events.append, retry_seconds=0.0)
    window = Window(index=0, pieces=(Piece(0, 0, samples),), speech=samples, speech_end=samples)
    options = DecodeOptions(
        language="en" if "en" in decoder.info.languages else None,
        task="transcribe",
        initial_prompt=None,
        hotwords=None,
        beam_size=beam_size,
    )
    scheduler.add(DecodeTask(_JOB, str(path), (window,), options, probes=(0,)))
    while batch := scheduler.take(decoder.info.batch_size, timeout=0.0):
        scheduler.give(batch, decoder.run(batch.rows))
    for event in events:
        if isinstance(event, WindowDone):
            return "".join(segment.text for segment in event.result.segments)
        if isinstance(event, JobRejected):
            raise EngineBrokenError(f"the engine refused its control recording: {event.message}")
    raise EngineBrokenError("the engine came to no end with its control recording")


def _pcm(path: Path) -> bytes:
    with wave.open(str(path), "rb") as clip:
        form = (clip.getframerate(), clip.getnchannels(), clip.getsampwidth())
        if form != (SAMPLE_RATE, 1, 2) or not 0 < clip.getnframes() <= MAX_SECONDS * SAMPLE_RATE:
            raise ValueError(
                f"control clip {path}: must be 16 kHz, mono, 16 bit and at most {MAX_SECONDS:.0f} s long, "
                f"has {form[0]} Hz, {form[1]} channels, {form[2] * 8} bit and {clip.getnframes()} samples"
            )
        return clip.readframes(clip.getnframes())
