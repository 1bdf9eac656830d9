# SPDX-License-Identifier: Apache-2.0
"""The model that all contenders load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from sqscribe import bundled
from sqscribe.errors import NodeFaultError, SettingsError
from sqscribe.languages import LANGUAGES
from sqscribe_bench.lab.program import environment
from worker.node.models import RANDOM_MARK

__all__ = ["ARCHITECTURES", "RANDOM", "TOKENS", "Architecture", "is_random", "model_folder"]

#: What comes before the name of an architecture.
RANDOM = "random:"
#: Words that a made-up model hears in every window: about three a second of a full one, as in speech.
TOKENS = 90

#: Counts up when the same architecture comes to other weights.
_VERSION = 1
_WORDS = 50_256
#: Came with large-v3, as did 128 mel bands.
_LATE_LANGUAGE = "yue"


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a released model, vocabulary included."""

    layers: int
    decoder_layers: int
    d_model: int
    heads: int
    n_mels: int

    @property
    def languages(self) -> tuple[str, ...]:
        """Whisper codes."""
        return tuple(code for code in LANGUAGES if code != _LATE_LANGUAGE or self.n_mels == 128)


ARCHITECTURES = {
    "tiny": Architecture(4, 4, 384, 6, 80),
    "base": Architecture(6, 6, 512, 8, 80),
    "small": Architecture(12, 12, 768, 12, 80),
    "medium": Architecture(24, 24, 1024, 16, 80),
    "large-v2": Architecture(32, 32, 1280, 20, 80),
    "large-v3": Architecture(32, 32, 1280, 20, 128),
    "large-v3-turbo": Architecture(32, 4, 1280, 20, 128),
}


def is_random(model: str) -> bool:
    """Whether a made-up model is asked for."""
    return model.startswith(RANDOM)


def model_folder(model: str, cache: Path) -> str:
    """What the contenders load: the folder of `demo`, that of a made-up model (made if need be), or what was named.

    Raises:
        SettingsError: There is no such architecture.
        NodeFaultError: The model cannot be made.
    """
    if model == "demo":
        return str(bundled.model_path())
    if not is_random(model):
        return str(Path(model).absolute()) if Path(model).is_dir() else model
    name = model.removeprefix(RANDOM)
    if name not in ARCHITECTURES:
        raise SettingsError(f"--model {model}: unknown; there are {', '.join(RANDOM + each for each in ARCHITECTURES)}")
    folder = cache.absolute() / f"random-{_VERSION}-{name}"
    if not folder.is_dir():
        _make(ARCHITECTURES[name], folder)
    return str(folder)


def _make(architecture: Architecture, folder: Path) -> None:
    """Makes it in a process of its own, which is the only one that loads CTranslate2."""
    partial = folder.with_suffix(f".{os.getpid()}.part")
    partial.mkdir(parents=True)
    order = asdict(architecture) | {
        "folder": str(partial),
        "languages": architecture.languages,
        "words": _WORDS,
        "text_tokens": TOKENS,
    }
    command = [sys.executable, "-m", "sqscribe_bench.programs.random_weights", json.dumps(order)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial)
        raise NodeFaultError(f"a model with random weights cannot be made: {done.stderr.strip()[-500:]}")
    (partial / RANDOM_MARK).touch()
    partial.rename(folder)
