# SPDX-License-Identifier: Apache-2.0
"""Whether files can be decoded here is told; an ffmpeg that runs is told from one that only seems to."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from sqscribe.errors import UnfitNodeError
from stages.ffmpeg import find_ffmpeg
from worker.preflight import Severity, fatal
from worker.preflight.ffmpeg import check_decoding, check_ffmpeg

#: The head of a program for another processor (RISC-V), and nothing behind it.
FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00\x01\x00\x00\x00" + bytes(40)


def put(monkeypatch: pytest.MonkeyPatch, folder: Path, program: bytes) -> None:
    """Puts a program in ffmpeg's place."""
    path = folder / "ffmpeg"
    path.write_bytes(program)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    assert shutil.which("ffmpeg") == str(path)


def broken_pyav(monkeypatch: pytest.MonkeyPatch, folder: Path, content: str) -> None:
    """Puts a package in PyAV's place."""
    (folder / "av").mkdir()
    (folder / "av" / "__init__.py").write_text(f"{content}\n")
    monkeypatch.syspath_prepend(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "av"]:
        monkeypatch.delitem(sys.modules, name)


def test_the_one_that_is_used_works() -> None:
    (found,) = check_ffmpeg()

    assert found.severity is Severity.OK, found.line
    assert find_ffmpeg() in found.line


def test_files_can_be_decoded() -> None:
    (found,) = check_decoding()

    assert (found.severity, found.what) == (Severity.OK, "decoding")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("raise ImportError('libavcodec.so.62: cannot open shared object file')", "libavcodec.so.62"),
        ("import os; os.kill(os.getpid(), 4)", "exit code -4"),
    ],
    ids=["library", "processor"],
)
def test_a_machine_on_which_no_file_can_be_decoded_is_unfit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: str
) -> None:
    # Given libraries that are missing, or made for another processor
    broken_pyav(monkeypatch, tmp_path, content)

    (found,) = check_decoding()

    assert found.severity is Severity.UNFIT
    with pytest.raises(UnfitNodeError, match=words):
        raise fatal([found]) or AssertionError


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"#!/bin/sh\necho 'libx.so.1: cannot open shared object file' >&2\nexit 127\n", "exit code 127 .*libx.so.1"),
        (b"#!/bin/sh\nexit 1\n", "exit code 1 .*it says nothing"),
        (b"#!/bin/sh\nkill -SEGV $$\n", "signal 11"),
        (b"#!/bin/sh\nexit 0\n", "became 0.00 s"),
        (b"#!/bin/sh\nhead -c 64000 /dev/zero\n", "became 2.00 s"),
        (b"#!/no/such/interpreter\n", "cannot be started"),
        (FOREIGN, "cannot be started"),
    ],
    ids=["library", "refuses", "crashes", "nothing", "silence", "interpreter", "architecture"],
)
def test_one_that_cannot_work_is_told_and_keeps_no_worker_from_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: bytes, words: str
) -> None:
    put(monkeypatch, tmp_path, program)

    (found,) = check_ffmpeg()

    assert found.severity is Severity.WARNING
    assert re.search(words, found.line)
    assert "no job needs the program" in found.line
    assert fatal([found]) is None
    # For files are decoded without it
    (decoding,) = check_decoding()
    assert decoding.severity is Severity.OK


def test_silence_of_the_right_length_is_not_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given one that decodes to the right length and to nothing else
    real = find_ffmpeg()
    put(monkeypatch, tmp_path, f'#!/bin/sh\n{real} "$@" | tr "\\000-\\377" "\\000"\n'.encode())

    (found,) = check_ffmpeg()

    assert found.severity is Severity.WARNING
    assert "loudness of 0.0000" in found.line


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, tmp_path, b"#!/bin/sh\nexec tail -f /dev/null\n")

    (found,) = check_ffmpeg(timeout=0.5)

    assert found.severity is Severity.WARNING
    assert "within 0.5 s" in found.line
