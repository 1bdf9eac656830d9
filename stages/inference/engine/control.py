# SPDX-License-Identifier: Apache-2.0
"""The check at the start: a recording with a known text, decoded as every job is.

It has to compare what comes out. With some pairs of driver and GPU, CTranslate2 raises nothing and answers with empty
text, a second after the other.
"""

from __future__ import annotations

import re
import tempfile
import wave
from pathlib import Path

import structlog

from sqscribe.errors import EngineBrokenError
from sqscribe.wer import count_words, word_errors
from stages.inference.engine.comparison import Comparison, Incomparable
from stages.inference.engine.rows import WindowDecoder
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
from stages.values import SAMPLE_RATE, Piece, Window, WindowResult

__all__ = ["MAX_SECONDS", "check", "read_clip", "word_error_rate"]

#: Longest control clip: it is decoded as one window.
MAX_SECONDS = 30.0

_JOB = "control"
#: Thai to Burmese, Khmer, kana and Han.
_NO_BLANKS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_BROKEN = (
    "The driver, the GPU or the model on this node does not work; an empty text points to a driver that is too old for "
    "the GPU"
)

log = structlog.get_logger()


def check(decoder: WindowDecoder, clip: ControlClip, *, beam_size: int) -> float:
    """Transcribes the clip and compares: words with what is said, and numbers where those are no proof.

    A model for another language than the clip's writes other words on a device that works. Then the device must
    compute what the model's files say, and the decoder must have written something.

    Args:
        decoder: The one to check.
        clip: A WAV file of at most `MAX_SECONDS`, 16 kHz mono signed 16-bit.
        beam_size: As the jobs will have it.

    Returns:
        The word error rate, which is at most the clip's unless numbers were compared.

    Raises:
        EngineBrokenError: The device, or the model, does not work; the message says what was compared.
        ValueError: The clip is of another format.
    """
    pcm = read_clip(Path(clip.path))
    samples = len(pcm) // 2
    window = Window(index=0, pieces=(Piece(0, 0, samples),), speech=samples, speech_end=samples)
    # A file, because a path and offsets are all that the decoder takes.
    with tempfile.TemporaryDirectory(prefix="sqscribe-control-") as folder:
        path = Path(folder, "clip.pcm")
        path.write_bytes(pcm)
        result = _transcribe(decoder, path, window, clip.language, beam_size)
        text = "".join(segment.text for segment in result.segments).strip()
        rate = word_error_rate(clip.text, text)
        if text and rate <= clip.max_error_rate:
            return rate
        compared = decoder.compare(str(path), window, result.language, text)
    must_understand = clip.must_understand or decoder.info.languages == (clip.language,)
    wrong = _wrong(text, compared, must_understand=must_understand)
    if wrong is not None:
        raise EngineBrokenError(
            f"the engine misheard its control recording (word error rate {rate:.2f}, at most "
            f"{clip.max_error_rate:.2f} is allowed): it wrote {text!r} where {clip.text!r} is said. {wrong}"
        )
    log.warning("control_clip_not_understood", model=decoder.info.name, wrote=text, device_works=_shown(compared))
    return rate


def word_error_rate(reference: str, transcribed: str) -> float:
    """Word errors per word of the reference; 1 for a reference without words unless nothing was transcribed."""
    reference, transcribed = _apart(reference), _apart(transcribed)
    said = count_words(reference)
    return word_errors(reference, transcribed) / said if said else float(bool(count_words(transcribed)))


def _apart(text: str) -> str:
    """The text with blanks around each character of a script that sets none between words."""
    return _NO_BLANKS.sub(r" \g<0> ", text)


def _wrong(text: str, compared: Comparison | Incomparable, *, must_understand: bool) -> str | None:
    """What is wrong where the words are not those of the clip; None where nothing is."""
    if isinstance(compared, Incomparable):
        return f"{_BROKEN} (there are no numbers to compare: {compared.why})"
    if compared.faults:
        return f"{_BROKEN}. Compared with {compared.against}, {' and '.join(compared.faults)}"
    works = f"The device works: {_shown(compared)}."
    if must_understand:
        return f"{works} So the model's files are damaged, or it does not know the language of the recording"
    if not text:
        return (
            f"{works} But the model says nothing at all, which proves nothing of its words: name a recording in its "
            "own language in SQSCRIBE_CONTROL_CLIP, and its words in SQSCRIBE_CONTROL_TEXT"
        )
    return None


def _shown(compared: Comparison | Incomparable) -> str:
    if isinstance(compared, Incomparable):
        return compared.why
    return (
        f"compared with {compared.against}, where 1 means the same numbers, its encoder's output agrees to "
        f"{compared.encoder:.3f} and its decoder's logits, over {compared.steps} steps, to {compared.decoder:.3f}"
    )


def _transcribe(
    decoder: WindowDecoder, path: Path, window: Window, language: str | None, beam_size: int
) -> WindowResult:
    events: list[EngineEvent | Progress] = []
    scheduler = Scheduler(decoder, events.append, retry_seconds=0.0)
    options = DecodeOptions(
        language=language if language in decoder.info.languages else None,
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
            return event.result
        if isinstance(event, JobRejected):
            raise EngineBrokenError(f"the engine refused its control recording: {event.message}")
    raise EngineBrokenError("the engine came to no end with its control recording")


def read_clip(path: Path) -> bytes:
    """The PCM of a clip.

    Raises:
        OSError, EOFError, wave.Error: It cannot be read.
        ValueError: It is of another format.
    """
    with wave.open(str(path), "rb") as clip:
        form = (clip.getframerate(), clip.getnchannels(), clip.getsampwidth())
        if form != (SAMPLE_RATE, 1, 2) or not 0 < clip.getnframes() <= MAX_SECONDS * SAMPLE_RATE:
            raise ValueError(
                f"control clip {path}: must be 16 kHz, mono, 16 bit and at most {MAX_SECONDS:.0f} s long, "
                f"has {form[0]} Hz, {form[1]} channels, {form[2] * 8} bit and {clip.getnframes()} samples"
            )
        return clip.readframes(clip.getnframes())
