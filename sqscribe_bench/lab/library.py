# SPDX-License-Identifier: Apache-2.0
"""Recordings that are made once and kept in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqscribe.errors import NodeFaultError
from sqscribe_bench.lab.pcm import encode, wav
from sqscribe_bench.lab.speech import Speech
from sqscribe_bench.lab.workload import SEED, Recording

__all__ = ["Library", "default_cache"]

#: Is raised when the same name and seed give other bytes than before.
_VERSION = 1
#: Sample rate and bit rate of the files, as speech is often published.
_SAMPLE_RATE, _BIT_RATE = 44_100, "64k"


def default_cache() -> Path:
    """The folder in which recordings and models with random weights are kept between two runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sqscribe" / "bench"


class Library:
    """Makes recordings and keeps them.

    Args:
        cache: Folder for recordings of any seed.
        seed: Decides what is said.
    """

    def __init__(self, cache: Path, seed: int = SEED) -> None:
        self._folder = cache / f"recordings-{_VERSION}-{seed}"
        self._seed = seed

    def path(self, recording: Recording) -> Path:
        """The path of a recording's mp3, whether or not it was made."""
        return self._folder / f"{recording.name}-{recording.seconds:g}.mp3"

    def wav(self, recording: Recording, folder: Path) -> Path:
        """Makes a recording as a WAV file in a folder, whether or not there is an mp3 of it."""
        samples = Speech().say(f"{self._seed}/{recording.name}", recording.seconds)
        path = folder / f"{recording.name}.wav"
        path.write_bytes(wav(samples))
        return path

    def make(self, recordings: Iterable[Recording]) -> int:
        """Makes the recordings that are missing, several at once.

        Returns:
            How many were made.

        Raises:
            NodeFaultError: ffmpeg does not work.
        """
        missing = [recording for recording in recordings if not self.path(recording).exists()]
        if missing:
            self._folder.mkdir(parents=True, exist_ok=True)
            speech = Speech()
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # ffmpeg does the work
                list(pool.map(lambda recording: self._make(speech, recording), missing))
        return len(missing)

    def _make(self, speech: Speech, recording: Recording) -> None:
        samples = speech.say(f"{self._seed}/{recording.name}", recording.seconds)
        path = self.path(recording)
        partial = path.with_suffix(f".{os.getpid()}.part")
        encoding = ("-ar", str(_SAMPLE_RATE), "-c:a", "libmp3lame", "-b:a", _BIT_RATE, "-compression_level", "9")
        try:
            # Without ffmpeg's name and version in the file, its bytes are the same on every machine.
            encode(samples, *encoding, "-bitexact", "-f", "mp3", "-y", str(partial))
        except NodeFaultError:
            partial.unlink(missing_ok=True)
            raise
        partial.rename(path)
