# SPDX-License-Identifier: Apache-2.0
"""whisper-s2t's environment, which is its own: it pins and patches what others need otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import sqscribe_bench.programs
from sqscribe_bench.lab.program import Program, environment
from sqscribe_bench.lab.run import BenchError
from sqscribe_bench.lab.site import Site
from stages.ffmpeg import find_ffmpeg

__all__ = ["s2t_environment", "s2t_program"]

#: Of the same versions as here, so that the engine underneath is the same.
_SHARED = ("ctranslate2", "torch", "numpy", "boto3")


def s2t_environment(folder: Path, tell: Callable[[str], None]) -> tuple[Path, str]:
    """An environment that has whisper-s2t, made if there is none.

    Returns:
        Its Python, and the version of whisper-s2t.

    Raises:
        BenchError: It cannot be made here; the end of what pip said is in it.
    """
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        tell(f"installing whisper-s2t into {folder}, which takes minutes")
        pins = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in _SHARED]
        _do([sys.executable, "-m", "venv", str(folder)])
        _do([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "whisper-s2t", *pins])
    return python, _do([str(python), "-c", "import importlib.metadata as m; print(m.version('whisper-s2t'))"])


def s2t_program(python: Path) -> Callable[[Mapping[str, Any], Site, str], Program]:
    """What starts the program, as `sqscribe_bench.compare.contender.loop_program` does for the loop."""
    (package,) = sqscribe_bench.programs.__path__

    def start(order: Mapping[str, Any], site: Site, name: str) -> Program:
        env = environment()
        del env["PYTHONPATH"]  # its packages are its own
        env["PATH"] = os.pathsep.join([str(_ffmpeg_folder(site.folder)), env.get("PATH", "")])
        arguments = ["-P", str(Path(package, "s2t.py")), json.dumps(order)]
        return Program(arguments, site.aws.child_env(env), site.folder / f"{name}.log", python=str(python))

    return start


def _ffmpeg_folder(folder: Path) -> Path:
    """A folder with a program `ffmpeg`, which is how whisper-s2t asks for it."""
    link = folder / "bin" / "ffmpeg"
    if not link.exists():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(find_ffmpeg())
    return link.parent


def _do(command: list[str]) -> str:
    """Runs a command; gives what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"whisper-s2t cannot be had: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout.strip()
