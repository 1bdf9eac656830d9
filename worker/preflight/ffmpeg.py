# SPDX-License-Identifier: Apache-2.0
"""Whether files can be decoded here, and whether the program ffmpeg works, which little depends on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import ffmpeg
import numpy as np
import numpy.typing as npt

from sqscribe.bundled import demo_clips
from sqscribe.errors import JobFailedError, NodeFaultError, UnfitNodeError
from stages.decode import AudioDecoder, DecodeLimits
from stages.ffmpeg import find_ffmpeg
from stages.ports import Cancellation
from stages.values import SAMPLE_RATE, Source
from worker.preflight.finding import Finding, Severity, ok, warning

__all__ = ["check_decoding", "check_ffmpeg"]

#: Of a clip in MP3, whose decoder and demuxer no build may lack. Encoders add some silence at both ends.
_CLIP, _SLACK_SECONDS = "greetings.mp3", 0.2
#: Loudness below which it is not the clip: of full scale, root mean square.
_QUIETEST = 0.005
#: Of reasons: what is shown.
_TAIL = 300


def check_decoding(timeout: float = 60.0) -> Iterator[Finding]:
    """Decodes a clip whose length is known as every job's file is: a machine that cannot would fail them all.

    Args:
        timeout: Seconds that it may take: a machine that starts may be busy with other things.
    """
    clip = next(each for each in demo_clips() if each.name == _CLIP)
    try:
        with AudioDecoder(DecodeLimits(timeout, timeout, timeout)) as decoder, TemporaryDirectory() as name:
            source = Source(clip.path, clip.path.stat().st_size, sha256="")
            audio = decoder.decode(source, Path(name), _Room(), Cancellation())
            wrong = _wrong(np.fromfile(audio.path, "<i2"), clip.seconds)
    except (JobFailedError, NodeFaultError, UnfitNodeError) as error:
        wrong = str(error)
    if wrong:
        yield Finding("decoding", wrong, "install sqscribe anew, with the wheel of PyAV (`av`) for this machine",
                      Severity.UNFIT)  # fmt: skip
    else:
        yield ok("decoding", f"a clip of {clip.seconds:.1f} s is decoded")


def check_ffmpeg(timeout: float = 60.0) -> Iterator[Finding]:
    """Lets the program ffmpeg decode the same clip. No job needs it: FFmpeg's libraries come with PyAV.

    Args:
        timeout: Seconds that it may take.
    """
    clip = next(each for each in demo_clips() if each.name == _CLIP)
    program = "ffmpeg"
    try:
        program = find_ffmpeg()
        command = ffmpeg.input(str(clip.path)).output("pipe:1", format="s16le", ac=1, ar=SAMPLE_RATE).compile(program)
        done = subprocess.run([*command, "-nostdin", "-v", "error"], capture_output=True, timeout=timeout, check=False)
    except UnfitNodeError as error:
        wrong = str(error)
    except OSError as error:
        wrong = f"{program} cannot be started ({error.strerror})"
    except subprocess.TimeoutExpired:
        wrong = f"{program} did not decode a clip of {clip.seconds:.0f} s within {timeout:g} s"
    else:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1][-_TAIL:]
        code = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        samples = np.frombuffer(done.stdout[: len(done.stdout) // 2 * 2], "<i2")
        wrong = f"{program} ends with {code} ({last})" if done.returncode else _wrong(samples, clip.seconds)
    if wrong:
        yield warning("ffmpeg", wrong, "no job needs the program; `sqscribe bench` makes its recordings with it")
    else:
        yield ok("ffmpeg", f"{program} works")


def _wrong(samples: npt.NDArray[np.int16], expected: float) -> str:
    """What is wrong with the clip's samples; empty if nothing is."""
    seconds = samples.size / SAMPLE_RATE
    loudness = float(np.sqrt(np.mean((samples / 32_768) ** 2))) if samples.size else 0.0
    if abs(seconds - expected) > _SLACK_SECONDS or loudness < _QUIETEST:
        return f"{expected:.2f} s of known speech became {seconds:.2f} s with a loudness of {loudness:.4f}"
    return ""


class _Room:
    """Scratch space for one clip."""

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Grants it."""
