# SPDX-License-Identifier: Apache-2.0
"""Long recordings, made from the bundled clips."""

from __future__ import annotations

import subprocess
from pathlib import Path

import ffmpeg

from sqscribe.bundled import demo_clips
from stages.ffmpeg import find_ffmpeg

__all__ = ["looped"]


def looped(clip: str, times: int, folder: Path) -> Path:
    """Writes a recording in which a clip is heard several times.

    Args:
        clip: The clip's name; the recording has its format.
        times: How often.
        folder: Where the file is written.

    Returns:
        The file.
    """
    (source,) = (each.path for each in demo_clips() if each.name == clip)
    path = folder / f"{times}-{clip}"
    copy = ffmpeg.input(str(source), stream_loop=times - 1).output(str(path), c="copy")
    subprocess.run(copy.global_args("-v", "error").compile(find_ffmpeg()), check=True)
    return path
