# SPDX-License-Identifier: Apache-2.0
"""`sqscribe doctor` as a program: what it says, and the code that it ends with."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sqscribe.errors import ExitCode
from worker.embedded.aws import EmbeddedAws
from worker.embedded.environment import free_port
from worker.embedded.program import worker_environment

pytestmark = [pytest.mark.process, pytest.mark.wire]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws() as running:
        yield running


def doctor(
    aws: EmbeddedAws | None,
    folder: Path,
    *arguments: str,
    path: str | None = None,
    endpoint: str | None = None,
    **settings: object,
) -> Ran:
    given = {"PATH": path, "AWS_ENDPOINT_URL": endpoint}
    more = {name: value for name, value in given.items() if value is not None}
    env = worker_environment(aws, {"model": "demo", "device": "cpu", **settings}, **more)
    command = [sys.executable, "-P", "-m", "sqscribe", "doctor", *arguments]
    ended = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stderr == ""
    return Ran(ended.returncode, ended.stdout)


def test_where_all_is_right_it_says_so(aws: EmbeddedAws, tmp_path: Path) -> None:
    queue, bucket = aws.make_queue("right"), aws.make_bucket("right")

    ran = doctor(aws, tmp_path, queue_url=queue.url, output=f"{bucket}/out")

    assert ran.code == ExitCode.DONE
    assert "WRONG" not in ran.out
    for looked_at in ("SQSCRIBE_QUEUE_URL", "SQSCRIBE_DEAD_LETTER_QUEUE_URL", "SQSCRIBE_OUTPUT", "ffmpeg", "clock"):
        assert f"ok        {looked_at}: " in ran.out


def test_what_is_wrong_comes_with_what_to_do(aws: EmbeddedAws, tmp_path: Path) -> None:
    queue = aws.make_queue("wrong")
    # When two things are wrong
    told = doctor(aws, tmp_path, queue_url=queue.url, output="s3://nothing-there-at-all/out", model="large-v9")
    listed = doctor(aws, tmp_path, "--json", queue_url=queue.url, output="s3://nothing-there-at-all/out")
    # Then both are told, each with a remedy
    assert told.code == listed.code == ExitCode.USAGE
    wrong = [line for line in told.out.splitlines() if line.startswith("WRONG")]
    assert [line.split()[1] for line in wrong] == ["SQSCRIBE_OUTPUT:", "SQSCRIBE_MODEL:"]
    assert told.out.count("\n          do: ") >= 2
    findings = [json.loads(line) for line in listed.out.splitlines()]
    assert all(set(each) == {"severity", "what", "why", "remedy"} for each in findings)
    (one,) = [each for each in findings if each["severity"] == "wrong"]
    assert (one["what"], bool(one["remedy"])) == ("SQSCRIBE_OUTPUT", True)


def test_without_settings_it_looks_at_the_machine(tmp_path: Path) -> None:
    ran = doctor(None, tmp_path)

    assert ran.code == ExitCode.DONE
    assert "not seen  SQSCRIBE_QUEUE_URL: not set" in ran.out
    assert "ok        ffmpeg: " in ran.out
    assert ran.out.endswith(", 0 wrong, 0 to know of, 2 not seen\n")


def test_a_terminal_gets_lines_that_fit_and_are_set_in(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    env = worker_environment(None, {"model": "demo", "device": "cpu"})
    env.pop("COLUMNS", None)
    command = [sys.executable, "-P", "-m", "sqscribe", "doctor", "--output", "s3://b/x"]
    program = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while piece := os.read(ours, 4096):
            said += piece
    os.close(ours)
    assert program.wait(120) == ExitCode.USAGE
    lines = said.decode().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any(line.startswith(" " * 10) and "do: " not in line for line in lines)


def test_a_setting_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    ran = doctor(None, tmp_path, "--beam-size", "eleven")

    assert ran.code == ExitCode.USAGE
    assert "WRONG     SQSCRIBE_BEAM_SIZE: " in ran.out


def test_a_machine_that_cannot_do_the_work_is_code_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a PyAV whose library is missing
    package = tmp_path / "packages" / "av" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("raise ImportError('libavcodec.so.62: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parents[1]), prepend=os.pathsep)

    ran = doctor(None, tmp_path)

    assert ran.code == ExitCode.UNFIT_NODE
    assert "UNFIT     decoding" in ran.out


def test_a_program_that_no_job_needs_is_only_mentioned(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)

    ran = doctor(None, tmp_path, path=f"{tmp_path}:/usr/bin:/bin")

    assert ran.code == ExitCode.DONE
    assert "ffmpeg" in ran.out
    assert "exit code 127" in ran.out


def test_a_queue_that_cannot_be_reached_is_code_3(aws: EmbeddedAws, tmp_path: Path) -> None:
    ran = doctor(aws, tmp_path, endpoint=f"http://127.0.0.1:{free_port()}", queue_url="http://h/1/jobs")

    assert ran.code == ExitCode.UNFIT_NODE
    assert "NO REPLY  SQSCRIBE_QUEUE_URL: " in ran.out
