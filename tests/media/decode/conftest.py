# SPDX-License-Identifier: Apache-2.0
"""A bench on which files are decoded, and files made for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqscribe.bundled import speeches
from sqscribe.errors import PermanentError
from stages.decode import AudioDecoder, DecodeLimits
from stages.ffmpeg import find_ffmpeg
from stages.ports import Cancellation
from stages.values import Audio, Media, Source
from worker.testing.scratch import BoundlessReserve


class Bench:
    """Decodes files of a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held = BoundlessReserve()
        self.reader: list[str] | None = None
        self.cancellation = Cancellation()

    def decode(self, path: Path, *, max_seconds: float = 3600, **how: Any) -> Audio:
        limits = DecodeLimits(max_seconds, **{key: how.pop(key) for key in ("timeout", "stall_timeout") if key in how})
        source = Source(path, path.stat().st_size, "digest", Media(title="A talk"))
        return AudioDecoder(limits, self.reader).decode(source, self.folder, self.held, self.cancellation, **how)

    def samples(self, path: Path, **how: Any) -> np.ndarray[Any, np.dtype[np.int16]]:
        return np.fromfile(self.decode(path, **how).path, dtype="<i2")

    def fails_with(self, path: Path, **how: Any) -> Any:
        """The code of the error that a file ends in."""
        with pytest.raises(PermanentError) as caught:
            self.decode(path, **how)
        return caught.value.code

    def fails(self, path: Path, kind: type[Exception] = PermanentError, **how: Any) -> Any:
        with pytest.raises(kind) as caught:
            self.decode(path, **how)
        assert list(self.folder.iterdir()) == []
        return getattr(caught.value, "code", None)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    folder = tmp_path / "job"
    folder.mkdir()
    return Bench(folder)


def run_ffmpeg(path: Path, *arguments: str) -> Path:
    subprocess.run([find_ffmpeg(), "-loglevel", "error", "-nostdin", "-y", *arguments, str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def make() -> Callable[..., Path]:
    """Makes a file with ffmpeg."""
    return run_ffmpeg


@pytest.fixture(scope="session")
def sentence() -> Path:
    """The sentence, 11 s."""
    return speeches()[0].path
