# SPDX-License-Identifier: Apache-2.0
"""A released model for the demo's real speech, from wherever it can be had at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqscribe.errors import SettingsError

__all__ = ["MODEL", "ReleasedWeights", "WeightsSearch"]

#: What is looked for: the smallest that OpenAI released.
MODEL = "tiny.en"
#: Seconds that the search may take. It runs beside the bundled model, which takes about as long.
SEARCH_SECONDS = 20.0
_REPOSITORY = "Systran/faster-whisper-tiny.en"
_MODEL_FILES = ("config.json", "model.bin", "tokenizer.json")

#: Says where the hub's client keeps the model, or brings it there. A hub that does not answer at once is not waited
#: for: the alarm ends the program even where a name is being looked up.
_HUB = """
import os, signal, sys, urllib.request
from huggingface_hub import snapshot_download
repository, files = sys.argv[1], ["*.json", "model.bin", "vocabulary.*"]
try:
    folder = snapshot_download(repository, allow_patterns=files, local_files_only=True)
    assert os.path.isfile(os.path.join(folder, "model.bin"))
except Exception:
    signal.alarm(5)
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    urllib.request.urlopen(f"{endpoint}/{repository}/resolve/main/config.json", timeout=3).close()
    signal.alarm(0)
    folder = snapshot_download(repository, allow_patterns=files)
print(folder)
"""

#: Brings the model within so many seconds; None: it cannot be had there.
Source = Callable[[float], "Path | None"]


@dataclass(frozen=True, slots=True)
class ReleasedWeights:
    """A model that was found.

    Attributes:
        name: What people call it.
        folder: Where it is.
    """

    name: str
    folder: Path


class WeightsSearch:
    """Looks for the model in a thread of its own, from the moment it is made.

    Args:
        named: A folder that was named; nothing else is looked at then.
        sources: Asked one after the other; by default the cache of `make real`, the hub, and packages.
        seconds: For all of it.

    Raises:
        SettingsError: The folder that was named holds no model.
    """

    def __init__(
        self, named: Path | None = None, sources: Sequence[Source] | None = None, *, seconds: float = SEARCH_SECONDS
    ) -> None:
        self._found: ReleasedWeights | None = None
        self._deadline = time.monotonic() + seconds
        self._sources = (_from_cache, _from_hub, _from_packages) if sources is None else tuple(sources)
        self._thread: threading.Thread | None = None
        if named is not None:
            missing = [name for name in _MODEL_FILES if not (named / name).is_file()]
            if missing:
                raise SettingsError(
                    f"--weights: {named} holds no CTranslate2 Whisper model: {', '.join(missing)} missing"
                )
            self._found = ReleasedWeights(named.resolve().name, named.resolve())
            return
        self._thread = threading.Thread(target=self._look, name="weights", daemon=True)
        self._thread.start()

    def result(self) -> ReleasedWeights | None:
        """What was found; None where nothing was, or not in time."""
        if self._thread is not None:
            self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._found

    def _look(self) -> None:
        for source in self._sources:
            left = self._deadline - time.monotonic()
            folder = source(left) if left > 0 else None
            if folder is not None:
                self._found = ReleasedWeights(MODEL, folder)
                return


def _from_cache(_seconds: float) -> Path | None:
    from sqscribe_bench.real.cache import Cache  # noqa: PLC0415
    from sqscribe_bench.real.packages import MODELS  # noqa: PLC0415

    folder = Cache().root / MODELS[MODEL].name
    return folder if folder.is_dir() else None


def _from_hub(seconds: float) -> Path | None:
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        told = subprocess.run(
            [sys.executable, "-P", "-c", _HUB, _REPOSITORY],
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return Path(told.stdout.strip())


def _from_packages(seconds: float) -> Path | None:
    from sqscribe_bench.real.cache import Cache, CannotBeHadError, download  # noqa: PLC0415
    from sqscribe_bench.real.packages import MODELS  # noqa: PLC0415

    try:
        return Cache(bring=partial(download, patience=seconds)).item(MODELS[MODEL])
    except (CannotBeHadError, OSError):
        return None
