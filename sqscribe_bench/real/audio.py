# SPDX-License-Identifier: Apache-2.0
"""Sound as numbers: read, written, brought to a level, joined."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["RATE", "Sound", "at_level", "hiss", "read", "silence", "speech", "wav"]

#: Samples a second of everything here.
RATE = 16_000

#: One channel, -1 to 1.
Sound = npt.NDArray[np.float32]

#: Frames quieter than the loudest by more than this, in dB, are no part of what is said.
_LOUD = 30.0


def read(path: Path) -> Sound:
    """Decodes a media file."""
    from faster_whisper.audio import decode_audio  # noqa: PLC0415 - takes a second

    sound: Sound = decode_audio(str(path), sampling_rate=RATE)
    return sound


def wav(sound: Sound) -> bytes:
    """The sound as a 16-bit WAV file; what is too loud is clipped."""
    body = io.BytesIO()
    with wave.open(body, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes())
    return body.getvalue()


def silence(seconds: float) -> Sound:
    """Digital silence."""
    return np.zeros(round(seconds * RATE), np.float32)


def hiss(seconds: float, level: float, seed: int = 0) -> Sound:
    """White noise.

    Args:
        seconds: How long.
        level: Root mean square in dB of full scale.
        seed: The same seed gives the same noise.
    """
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (noise * 10 ** (level / 20)).astype(np.float32)


def at_level(sound: Sound, level: float) -> Sound:
    """The same sound with what is said in it at a level: root mean square of its loud frames, in dB of full scale."""
    frames = sound[: len(sound) // 320 * 320].reshape(-1, 320).astype(np.float64)
    power = (frames**2).mean(axis=1)
    loud = power[power > power.max() * 10 ** (-_LOUD / 10)]
    gain = 10 ** (level / 20) / max(float(np.sqrt(loud.mean())), 1e-9) if loud.size else 1.0
    return (sound * gain).astype(np.float32)


def speech(sound: Sound) -> tuple[tuple[float, float], ...]:
    """Where someone speaks, in seconds, by the VAD that faster-whisper brings, at a level that it likes."""
    from faster_whisper.vad import get_speech_timestamps  # noqa: PLC0415 - takes a second

    spans = get_speech_timestamps(at_level(sound, -20.0), min_silence_duration_ms=300, speech_pad_ms=0)
    return tuple((span["start"] / RATE, span["end"] / RATE) for span in spans)
