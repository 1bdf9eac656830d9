# SPDX-License-Identifier: Apache-2.0
"""A folder of recordings that were made once."""

from __future__ import annotations

import os
import subprocess
import wave
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqscribe.errors import NodeFaultError
from sqscribe_bench.lab.speech import Speech
from sqscribe_bench.lab.workload import SEED, Recording
from stages.ffmpeg import find_ffmpeg
from stages.values import SAMPLE_RATE

__all__ = ["Library", "default_cache"]

#: Counts up when the same name and seed come to other bytes.
_VERSION = 1
#: Of the files: what speech is often published as.
_SAMPLE_RATE, _BIT_RATE = 44_100, "64k"


def default_cache() -> Path:
    """Where recordings and made-up models are kept between two runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sqscribe" / "bench"


class Library:
    """Makes recordings and keeps them.

    Args:
        cache: Folder for recordings of any seed.
        seed: Of what is said.
    """

    def __init__(self, cache: Path, seed: int = SEED) -> None:
        self._folder = cache / f"recordings-{_VERSION}-{seed}"
        self._seed = seed

    def path(self, recording: Recording) -> Path:
        """Where the mp3 of a recording stands, or would."""
        return self._folder / f"{recording.name}-{recording.seconds:g}.mp3"

    def wav(self, recording: Recording, folder: Path) -> Path:
        """Makes a recording as a WAV file in a folder, whether or not there is an mp3 of it."""
        samples = Speech().say(f"{self._seed}/{recording.name}", recording.seconds)
        path = folder / f"{recording.name}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(samples.itemsize)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(samples.tobytes())
        return path

    def make(self, recordings: Iterable[Recording]) -> int:
        """Makes those that are missing, several at once; says how many those were.

        Raises:
            NodeFaultError: ffmpeg does not work.
        """
        missing = [recording for recording in recordings if not self.path(recording).exists()]
        if missing:
            self._folder.mkdir(parents=True, exist_ok=True)
            speech, ffmpeg = Speech(), find_ffmpeg()
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # ffmpeg does the work
                list(pool.map(lambda recording: self._make(speech, ffmpeg, recording), missing))
        return len(missing)

    def _make(self, speech: Speech, ffmpeg: str, recording: Recording) -> None:
        samples = speech.say(f"{self._seed}/{recording.name}", recording.seconds)
        path = self.path(recording)
        partial = path.with_suffix(f".{os.getpid()}.part")
        command = [ffmpeg, "-loglevel", "error", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0"]
        encoding = ["-ar", str(_SAMPLE_RATE), "-c:a", "libmp3lame", "-b:a", _BIT_RATE, "-compression_level", "9"]
        done = subprocess.run(
            # Without its own name and version in the file, the bytes are the same wherever the encoder is.
            [*command, *encoding, "-bitexact", "-f", "mp3", "-y", str(partial)],
            input=samples.tobytes(),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            partial.unlink(missing_ok=True)
            raise NodeFaultError(f"ffmpeg cannot make an mp3: {done.stderr.decode(errors='replace').strip()[-300:]}")
        partial.rename(path)
