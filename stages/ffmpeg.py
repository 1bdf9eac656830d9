# SPDX-License-Identifier: Apache-2.0
"""The program ffmpeg, and what it and its libraries say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from sqscribe.errors import UnfitNodeError

__all__ = ["find_ffmpeg", "last_words"]

#: The part of ffmpeg that speaks, and where it lies in memory.
_SPEAKER = re.compile(r"\[[^\[\]]*@ 0x[0-9a-f]+\] ?")
#: Lines that say that something was wrong, and not what.
_EMPTY_WORDS = re.compile(
    r"Conversion failed!|Error opening input file|Last message repeated|Terminating thread|Task finished"
)


def find_ffmpeg() -> str:
    """The system's ffmpeg, else the one of the `imageio-ffmpeg` wheel.

    Raises:
        UnfitNodeError: There is neither.
    """
    system = shutil.which("ffmpeg")
    if system:
        return system
    import imageio_ffmpeg  # noqa: PLC0415 - only where the system has none

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UnfitNodeError("there is no ffmpeg; install it, or the imageio-ffmpeg wheel for this platform") from error


def last_words(messages: str, path: Path) -> str:
    """The line of ffmpeg's messages that says most, without addresses in memory and without our own paths.

    Args:
        messages: What it wrote to its standard error.
        path: The file that it was given.

    Returns:
        At most 200 characters; empty if it said nothing.
    """
    lines = [_SPEAKER.sub("", line).strip() for line in messages.replace("\r", "\n").splitlines()]
    lines = [line for line in lines if line]
    telling = [line for line in lines if not _EMPTY_WORDS.search(line)] or lines
    if not telling:
        return ""
    words = (
        telling[-1].replace(f"file:{path}", "the file").replace(str(path), "the file").replace(path.name, "the file")
    )
    return "".join(letter for letter in words if letter.isprintable())[:200]
