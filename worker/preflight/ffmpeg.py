# SPDX-License-Identifier: Apache-2.0
"""Whether ffmpeg runs here and decodes what is known: one that cannot would fail every job as unreadable media."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sqscribe.bundled import demo_clips
from sqscribe.errors import UnfitNodeError
from stages.ffmpeg import find_ffmpeg
from worker.preflight.finding import Finding, Severity, ok

__all__ = ["check_ffmpeg"]

_RATE = 16_000
#: Of a clip in MP3, whose decoder and demuxer no build may lack. Encoders add some silence at both ends.
_CLIP, _SLACK_SECONDS = "greetings.mp3", 0.2
#: Loudness below which it is not the clip: of full scale, root mean square.
_QUIETEST = 0.005
_REMEDY = "install a working ffmpeg of this machine's architecture with its libraries, or the imageio-ffmpeg wheel"


def check_ffmpeg(timeout: float = 60.0) -> Iterator[Finding]:
    """Decodes a clip whose length is known.

    Args:
        timeout: Seconds that it may take: a machine that starts may be busy with other things.
    """
    try:
        program = find_ffmpeg()
    except UnfitNodeError as error:
        yield _unfit("ffmpeg", str(error))
        return
    clip = next(each for each in demo_clips() if each.name == _CLIP)
    try:
        ended = subprocess.run(_command(program, clip.path), capture_output=True, timeout=timeout, check=False)
    except OSError as error:
        yield _unfit(program, f"cannot be started ({error.strerror})")
    except subprocess.TimeoutExpired:
        yield _unfit(program, f"did not decode a clip of {clip.seconds:.0f} s within {timeout:g} s")
    else:
        last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it says nothing"]
        if ended.returncode:
            yield _unfit(
                program, f"ends with {_code(ended.returncode)} on a clip that is known to be good ({last[0][-300:]})"
            )
        else:
            yield _judge(program, ended.stdout, clip.seconds)


def _command(program: str, path: Path) -> list[str]:
    form = ("-f", "s16le", "-ac", "1", "-ar", str(_RATE), "pipe:1")
    return [program, "-nostdin", "-v", "error", "-i", str(path), *form]


def _judge(program: str, pcm: bytes, expected: float) -> Finding:
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float64) / 32_768
    seconds = samples.size / _RATE
    loudness = float(np.sqrt(np.mean(samples**2))) if samples.size else 0.0
    if abs(seconds - expected) > _SLACK_SECONDS or loudness < _QUIETEST:
        return _unfit(
            program, f"decodes {expected:.2f} s of known speech to {seconds:.2f} s with a loudness of {loudness:.4f}"
        )
    return ok("ffmpeg", f"{program} decodes")


def _code(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"


def _unfit(program: str, why: str) -> Finding:
    what = "ffmpeg" if program == "ffmpeg" else f"ffmpeg ({program})"
    return Finding(what, why, _REMEDY, Severity.UNFIT)
