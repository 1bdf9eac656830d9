# SPDX-License-Identifier: Apache-2.0
"""The model that all contenders load: the bundled one, a named one, or one with random weights."""

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
from stages.inference.protocol import RANDOM_MARK

__all__ = ["ARCHITECTURES", "RANDOM", "TOKENS", "Architecture", "is_random", "model_folder"]

#: Prefix that asks for random weights; the name of an architecture follows.
RANDOM = "random:"
#: Words that a model with random weights gives for every window: about three a second, as in speech.
TOKENS = 90

#: Is raised when the same architecture gives other weights than before.
_VERSION = 1
_WORDS = 50_256
#: The language that only models with 128 mel bands know, as large-v3.
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
        """Codes of the languages that the model knows."""
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
    """Whether a model with random weights is asked for."""
    return model.startswith(RANDOM)


def model_folder(model: str, cache: Path) -> str:
    """The folder or name that the contenders load. A model with random weights is made if need be.

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
    """Makes a model in a process of its own, so that this one need not load CTranslate2."""
    partial = folder.with_suffix(f".{os.getpid()}.part")
    partial.mkdir(parents=True)
    settings = asdict(architecture) | {
        "folder": str(partial),
        "languages": architecture.languages,
        "words": _WORDS,
        "text_tokens": TOKENS,
    }
    command = [sys.executable, "-P", "-m", "sqscribe_bench.programs.random_weights", json.dumps(settings)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial)
        raise NodeFaultError(f"a model with random weights cannot be made: {done.stderr.strip()[-500:]}")
    (partial / RANDOM_MARK).touch()
    partial.rename(folder)
