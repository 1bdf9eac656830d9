# SPDX-License-Identifier: Apache-2.0
"""Commands in a folder whose files have the names of modules, which Python would import in their place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sqscribe
from sqscribe.bundled import demo_clips
from sqscribe.errors import ExitCode

pytestmark = pytest.mark.process

PATIENCE = 180.0
#: One that Python itself has, which every command loads, and one that the inference process alone loads.
OURS, PYTHONS, ENGINES = ("worker", "stages", "sqscribe_bench"), "logging", "torch"
CLIP = next(clip for clip in demo_clips() if clip.name == "hello.wav")


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in the folder, with nothing of ours in the environment."""
    # PYTHONSAFEPATH is what the command itself leaves to its children, so also to a test that runs it in this process.
    ours = ("SQSCRIBE_", "AWS_", "PYTHONSAFEPATH")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    clean["PYTHONPATH"] = str(Path(sqscribe.__file__).parents[1])
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=clean | environ, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def hide(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('the {name} of the folder')\n")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("worker", ("worker", "--queue-url", "https://sqs.test/1/q")),
        ("worker", ("demo",)),
        ("worker", ("transcribe", "talk.wav")),
        ("stages", ("transcribe", "talk.wav")),
        ("sqscribe_bench", ("bench", "busy")),
        (PYTHONS, ("enqueue", "--help")),
    ],
)
def test_a_command_says_what_hides_a_module(tmp_path: Path, name: str, arguments: tuple[str, ...]) -> None:
    # Given a file with the name of a module that the command needs
    hide(tmp_path, name)
    # When the command runs there
    ran = run(tmp_path, "-m", "sqscribe", *arguments)
    # Then it names the two in one line
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"sqscribe: {name}.py in {tmp_path} hides ")
    assert line.endswith(f" {name}; start with python -P -m sqscribe, or from another folder")
    assert ran.returncode == ExitCode.USAGE


def test_a_package_hides_as_a_file_does_and_a_bare_folder_does_not(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    assert "QUEUE_URL" in run(tmp_path, "-m", "sqscribe", "worker").stderr
    (tmp_path / "worker" / "__init__.py").touch()
    ran = run(tmp_path, "-m", "sqscribe", "worker")
    assert f"worker in {tmp_path} hides sqscribe's own package worker;" in ran.stderr
    assert ran.returncode == ExitCode.USAGE


def test_files_that_a_command_has_no_use_for_are_in_nobodys_way(tmp_path: Path) -> None:
    hide(tmp_path, *OURS)
    ran = run(tmp_path, "-m", "sqscribe", "enqueue", "--help")
    assert ran.returncode == ExitCode.DONE, ran.stderr


def test_what_pythonpath_puts_first_is_named_too(tmp_path: Path) -> None:
    # Given a folder on PYTHONPATH before the package's own
    hide(tmp_path, "worker")
    (tmp_path / "worker.py").write_text("")
    search = os.pathsep.join([str(tmp_path), str(Path(sqscribe.__file__).parents[1])])
    ran = run(tmp_path, "-P", "-m", "sqscribe", "worker", PYTHONPATH=search)
    assert f"worker.py in {tmp_path} hides sqscribe's own package worker;" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.returncode == ExitCode.USAGE


def test_the_inference_process_searches_no_folder_that_its_parent_does_not(tmp_path: Path) -> None:
    # Given a file that hides a module of the inference process's alone
    hide(tmp_path, ENGINES)
    # When a recording is transcribed there
    ran = run(tmp_path, "-m", "sqscribe", "transcribe", str(CLIP.path), "--model", "demo", "--device", "cpu")
    # Then the right one was loaded
    assert ran.returncode == ExitCode.DONE, ran.stderr
    assert (tmp_path / "hello.json").exists()


@pytest.mark.slow
def test_the_demo_runs_among_files_of_all_those_names(tmp_path: Path) -> None:
    # Given a folder that hides everything, and a program that does not search it
    hide(tmp_path, *OURS, PYTHONS, ENGINES, "socket", "queue")
    # When the demo's worker, server and inference process start there
    ran = run(tmp_path, "-P", "-m", "sqscribe", "demo", "--output", ".")
    # Then none of them has met a file of it
    assert ran.returncode == ExitCode.DONE, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "the worker of the folder" not in (tmp_path / "worker.log").read_text("utf-8")
