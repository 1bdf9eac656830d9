# SPDX-License-Identifier: Apache-2.0
"""Decodes a row's file as the worker does, and says what is wrong with what came."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from sqscribe.errors import JobFailedError
from sqscribe_bench.media.row import Pcm, Row
from stages.decode import AudioDecoder, DecodeLimits
from stages.ports import Cancellation
from stages.values import SAMPLE_RATE, Media, Source

__all__ = ["Verdict", "decoder", "judge"]

#: Seconds of one piece that is compared, and how far beside its place it is looked for.
_PIECE, _AROUND = 2.0, 0.5
#: Most pieces that are compared: a recording of hours has them spread over it.
_PIECES = 12
#: Pieces quieter than this (of 32,768) are not compared.
_AUDIBLE = 200
#: The longest that is decoded, and seconds that it may take.
_LONGEST, _PATIENCE = 12 * 3600.0, 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a row came out.

    Attributes:
        wrong: What is not right; empty if all is.
        seen: In short, what came.
        seconds: That it took.
    """

    wrong: str
    seen: str
    seconds: float


class _Room:
    """Scratch space without a bound."""

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Grants it."""


def decoder() -> AudioDecoder:
    """What decodes the rows' files."""
    return AudioDecoder(DecodeLimits(_LONGEST + 1, timeout=_PATIENCE, stall_timeout=_PATIENCE))


def judge(decoder: AudioDecoder, row: Row, path: Path, sentence: Pcm, folder: Path) -> Verdict:
    """Decodes a file and compares.

    Args:
        decoder: Decodes it.
        row: What is right.
        path: The file.
        sentence: The sound that was put into it.
        folder: For what is decoded; it goes again.
    """
    room = Path(mkdtemp(dir=folder))
    began = time.monotonic()
    try:
        source = Source(path, path.stat().st_size, "digest", Media())
        audio = decoder.decode(source, room, _Room(), Cancellation())
        seconds = time.monotonic() - began
        if row.codes:
            return Verdict(f"{audio.seconds:.2f} s were heard", f"{audio.seconds:.2f} s", seconds)
        heard = np.memmap(audio.path, dtype="<i2", mode="r")
        wrong, seen = _compare(row, row.sound(sentence), heard)
        return Verdict(wrong, seen, seconds)
    except JobFailedError as error:
        return Verdict(_failed(row, error, path, room), f"{error.code}: {error.message}", time.monotonic() - began)
    finally:
        shutil.rmtree(room)


def _failed(row: Row, error: JobFailedError, path: Path, room: Path) -> str:
    if error.code not in row.codes:
        return f"{error.code}: {error.message}"
    if row.words not in error.message:
        return f"{row.words!r} does not stand in {error.message!r}"
    if str(path.parent) in error.message:
        return f"the message shows a path: {error.message}"
    return f"{len(list(room.iterdir()))} files were left" if any(room.iterdir()) else ""


def _compare(row: Row, expected: Pcm, heard: Pcm) -> tuple[str, str]:
    """What is wrong, and what was seen."""
    difference = (len(heard) - len(expected)) / SAMPLE_RATE
    wrong = [f"{difference:+.3f} s long"] if abs(difference) > row.slack else []
    worst_lag, worst_likeness = 0.0, 1.0
    length = round(_PIECE * SAMPLE_RATE)
    places = [at for at in range(0, len(expected) - length + 1, length) if _loud(expected[at : at + length])]
    chosen = sorted({places[round(n)] for n in np.linspace(0, len(places) - 1, _PIECES)}) if places else []
    for at in chosen:
        lag, likeness = _place(expected[at : at + length], heard, at)
        worst_lag = lag if abs(lag) > abs(worst_lag) else worst_lag
        worst_likeness = min(worst_likeness, likeness)
        if abs(lag) > row.lag or likeness < row.likeness:
            wrong.append(f"at {at / SAMPLE_RATE:.0f} s: {lag * 1000:+.0f} ms, likeness {likeness:.2f}")
    if not places and _loud(heard[: 60 * SAMPLE_RATE]):
        wrong.append("something is heard in silence")
    seen = f"{difference * 1000:+.0f} ms long, {worst_lag * 1000:+.0f} ms off, likeness {worst_likeness:.2f}"
    return "; ".join(wrong), seen


def _loud(samples: Pcm) -> bool:
    return bool(np.sqrt(np.mean(np.square(samples.astype(np.float32)))) > _AUDIBLE)


def _place(piece: Pcm, heard: Pcm, at: int) -> tuple[float, float]:
    """How far beside its place a piece is, in seconds, and how like."""
    around = round(_AROUND * SAMPLE_RATE)
    begin = at - around
    there = np.asarray(heard[max(0, begin) : at + len(piece) + around], dtype=np.float64)
    before = max(0, -begin)
    lacking = len(piece) + 2 * around - before - len(there)
    there = np.pad(there, (before, lacking))  # what lies early or late may reach beyond the ends
    wanted = piece.astype(np.float64)
    size = 1 << (len(there) + len(wanted)).bit_length()
    product = np.fft.irfft(np.fft.rfft(there, size) * np.conj(np.fft.rfft(wanted, size)), size)
    products = product[: len(there) - len(wanted) + 1]
    energy = np.concatenate(([0.0], np.cumsum(there**2)))
    energies = np.maximum(energy[len(wanted) :] - energy[: -len(wanted)], 1.0)
    # Sound that was turned over sounds the same.
    likenesses = np.abs(products) / np.sqrt(energies * np.sum(wanted**2))
    best = int(np.argmax(likenesses))
    return (begin + best - at) / SAMPLE_RATE, float(likenesses[best])
