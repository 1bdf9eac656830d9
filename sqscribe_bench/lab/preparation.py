# SPDX-License-Identifier: Apache-2.0
"""From a media file to its windows, with the worker's own stages but without a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from stages.decode import AudioDecoder, DecodeLimits
from stages.ports import Cancellation
from stages.segment import Segmenter
from stages.values import Audio, Source, Windows

__all__ = ["Preparation"]

#: Longest recording, as the worker has it by default.
_LONGEST_SECONDS = 43_200


class Preparation:
    """Decodes recordings and cuts them into windows as a worker does. Several threads may use it at once.

    A context manager: at its end goes what decoding keeps ready for the next file.
    """

    def __init__(self) -> None:
        self._decoder = AudioDecoder(DecodeLimits(max_seconds=_LONGEST_SECONDS))
        self._segmenter = Segmenter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    def decode(self, media: Path, folder: Path) -> Audio:
        """Decodes a media file into a PCM file in a folder."""
        source = Source(media, media.stat().st_size, sha256="")
        return self._decoder.decode(source, folder, _AllOfTheDisk(), Cancellation())

    def segment(self, audio: Audio) -> Windows:
        """Finds the speech in a recording and cuts it into windows."""
        return self._segmenter.segment(audio, True, Cancellation())  # noqa: FBT003 - vad

    def windows(self, media: Path, folder: Path) -> Windows:
        """Decodes a media file and cuts it into windows; its PCM stays in the folder."""
        return self.segment(self.decode(media, folder))


class _AllOfTheDisk:
    """Scratch space without a limit of its own."""

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Grants whatever is asked for."""
