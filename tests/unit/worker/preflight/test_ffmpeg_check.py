# SPDX-License-Identifier: Apache-2.0
"""An ffmpeg that runs is told from one that only seems to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.ffmpeg import find_ffmpeg
from worker.preflight import Severity, fatal
from worker.preflight.ffmpeg import check_ffmpeg

#: The head of a program for another processor (RISC-V), and nothing behind it.
FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00\x01\x00\x00\x00" + bytes(40)


def put(monkeypatch: pytest.MonkeyPatch, folder: Path, program: bytes) -> None:
    """Puts a program in ffmpeg's place."""
    path = folder / "ffmpeg"
    path.write_bytes(program)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    assert shutil.which("ffmpeg") == str(path)


def test_the_one_that_is_used_works() -> None:
    (found,) = check_ffmpeg()

    assert found.severity is Severity.OK, found.line
    assert find_ffmpeg() in found.line


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"#!/bin/sh\necho 'libx.so.1: cannot open shared object file' >&2\nexit 127\n", "exit code 127 .*libx.so.1"),
        (b"#!/bin/sh\nexit 1\n", "exit code 1 .*it says nothing"),
        (b"#!/bin/sh\nkill -SEGV $$\n", "signal 11"),
        (b"#!/bin/sh\nexit 0\n", "to 0.00 s"),
        (b"#!/bin/sh\nhead -c 64000 /dev/zero\n", "to 2.00 s"),
        (b"#!/no/such/interpreter\n", "cannot be started"),
        (FOREIGN, "cannot be started"),
    ],
    ids=["library", "refuses", "crashes", "nothing", "silence", "interpreter", "architecture"],
)
def test_one_that_cannot_work_makes_the_machine_unfit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: bytes, words: str
) -> None:
    put(monkeypatch, tmp_path, program)

    (found,) = check_ffmpeg()

    assert found.severity is Severity.UNFIT
    with pytest.raises(Exception, match=words):
        raise fatal([found]) or AssertionError


def test_silence_of_the_right_length_is_not_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given one that decodes to the right length and to nothing else
    real = find_ffmpeg()
    put(monkeypatch, tmp_path, f'#!/bin/sh\n{real} "$@" | tr "\\000-\\377" "\\000"\n'.encode())

    (found,) = check_ffmpeg()

    assert found.severity is Severity.UNFIT
    assert "loudness of 0.0000" in found.line


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, tmp_path, b"#!/bin/sh\nexec tail -f /dev/null\n")

    (found,) = check_ffmpeg(timeout=0.5)

    assert found.severity is Severity.UNFIT
    assert "within 0.5 s" in found.line
