# SPDX-License-Identifier: Apache-2.0
"""The builds of ffmpeg that a worker meets: the wheel's, and the one of the image, unpacked without being installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["BUILDS", "CannotBeHadError", "build_folder"]

BUILDS = ("wheel", "debian")

#: The release whose ffmpeg is in the image.
_RELEASE = "bookworm"
#: Seconds for all packages, some 55 MB.
_PATIENCE = 300.0
#: Folders with libraries of its packages, below the root.
_LIBRARIES = ("", "/pulseaudio", "/blas", "/lapack")


class CannotBeHadError(Exception):
    """This build is not there; the message says why."""


def build_folder(build: str, *, bring: bool = False) -> Path:
    """A folder with an `ffmpeg`, to be put first into PATH.

    Args:
        build: One of `BUILDS`.
        bring: Download Debian's packages where they are not in the cache yet.

    Raises:
        CannotBeHadError: It cannot be had here.
    """
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("SQSCRIBE_FFMPEG_CACHE") or users / "sqscribe" / "ffmpeg") / build
    if build == "wheel":
        return _wheel(folder)
    if not (folder / "ffmpeg").exists():
        if not bring:
            raise CannotBeHadError("Debian's ffmpeg was not brought yet: `python -m sqscribe_bench.media --bring` does")
        _debian(folder)
    return folder


def _wheel(folder: Path) -> Path:
    import imageio_ffmpeg  # noqa: PLC0415 - an image with the system's ffmpeg has none in it

    program = next(Path(imageio_ffmpeg.__file__).with_name("binaries").glob("ffmpeg-*"), None)
    if program is None:
        raise CannotBeHadError("the imageio-ffmpeg wheel has no ffmpeg for this platform")
    link = folder / "ffmpeg"
    if not link.exists() or link.resolve() != program.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return folder


def _debian(folder: Path) -> None:
    release = Path("/etc/os-release")
    if not release.exists() or f"VERSION_CODENAME={_RELEASE}" not in release.read_text("utf-8"):
        raise CannotBeHadError(f"this machine has not Debian's {_RELEASE}, so it has no packages of it")
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise CannotBeHadError("there is no apt-get or no dpkg-deb")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".new-") as name:
        new, archives = Path(name), Path(name) / "archives"
        (archives / "partial").mkdir(parents=True)
        options = ("-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={archives}")
        _run("apt-get", "install", "--yes", "--download-only", "--no-install-recommends", *options, "ffmpeg")
        for archive in archives.glob("*.deb"):
            _run("dpkg-deb", "-x", str(archive), str(new / "root"))
        shutil.rmtree(archives)
        # apt brings what is not installed: with an ffmpeg on this machine nothing came, and it is the very one.
        if not (new / "root/usr/bin/ffmpeg").exists():
            raise CannotBeHadError("apt-get brought no ffmpeg; is it installed already?")
        (libraries,) = (new / "root/usr/lib").glob("*-linux-gnu")
        root = folder / libraries.relative_to(new)
        paths = ":".join(f"{root}{each}" for each in _LIBRARIES)
        program = new / "ffmpeg"
        program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={paths} exec {folder}/root/usr/bin/ffmpeg "$@"\n', "utf-8")
        program.chmod(0o755)
        new.rename(folder)
        new.mkdir()  # for the context manager to remove


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise CannotBeHadError(f"{command[0]} gave no answer within {_PATIENCE:.0f} s") from None
    if done.returncode:
        raise CannotBeHadError(f"{command[0]}: {done.stderr.strip()[-200:]}")
