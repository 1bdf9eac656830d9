# SPDX-License-Identifier: Apache-2.0
"""The command line as a program: `sqscribe transcribe` with the bundled model, and what every command owes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sqscribe.bundled import demo_clips
from sqscribe.cli import COMMANDS
from sqscribe.errors import ExitCode
from sqscribe.formats import ARTIFACTS
from sqscribe.wer import count_words, word_errors
from worker.testing.media_server import MediaServer

pytestmark = pytest.mark.process

CLIPS = {clip.name: clip for clip in demo_clips()}


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def sqscribe(*arguments: object, folder: Path, **environ: str) -> Ran:
    """Runs the program, in a folder and with nothing of ours in the environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SQSCRIBE_", "AWS_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "sqscribe", *map(str, arguments)],
        cwd=folder,
        env=clean | environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return Ran(ended.returncode, ended.stdout, ended.stderr)


# -- transcribe --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def media() -> Iterator[MediaServer]:
    """The bundled clips over HTTP."""
    with MediaServer() as server:
        yield server


@dataclass(frozen=True)
class Transcribed:
    ran: Ran
    folder: Path
    records: Sequence[dict[str, Any]]
    sources: Sequence[str]

    def text(self, name: str) -> str:
        return (self.folder / "out" / name).read_text("utf-8")


@pytest.fixture(scope="module")
def transcribed(media: MediaServer, tmp_path_factory: pytest.TempPathFactory) -> Transcribed:
    """One run over files with a common stem, a broken one, a missing one, a strange name and a URL; every format."""
    folder = tmp_path_factory.mktemp("transcribe")
    (folder / "other").mkdir()
    shutil.copy(CLIPS["hello.wav"].path, folder / "talk.wav")
    shutil.copy(CLIPS["numbers.mp3"].path, folder / "other" / "Talk.mp3")
    shutil.copy(CLIPS["telephone.wav"].path, folder / "été 1.wav")
    shutil.copy(CLIPS["broken.mp3"].path, folder / "broken.mp3")
    sources = ["talk.wav", "broken.mp3", "other/Talk.mp3", "missing.mp3", "été 1.wav", media.url("greetings.mp3?key=1")]
    formats = [argument for name in ARTIFACTS for argument in ("--format", name)]
    ran = sqscribe("transcribe", "--model", "demo", "--json", "-o", "out", *formats, *sources, folder=folder)
    return Transcribed(ran, folder, [json.loads(line) for line in ran.out.splitlines()], sources)


def test_a_file_that_fails_costs_the_others_nothing_but_the_exit_code(transcribed: Transcribed) -> None:
    assert transcribed.ran.code == ExitCode.JOBS_FAILED
    assert [record["status"] for record in transcribed.records] == [
        *("succeeded", "failed", "succeeded", "failed", "succeeded", "succeeded")
    ]
    errors = [record["error"]["code"] for record in transcribed.records if record["error"]]
    assert errors == ["media_unreadable", "source_not_found"]
    assert [bool(record["files"]) for record in transcribed.records] == [True, False, True, False, True, True]


def test_files_with_one_stem_do_not_overwrite_each_other(transcribed: Transcribed) -> None:
    stems = [{Path(file).name.partition(".")[0] for file in record["files"]} for record in transcribed.records]
    assert stems == [{"talk"}, set(), {"Talk-2"}, set(), {"t_1"}, {"greetings"}]
    for name, clip in (("talk", "hello.wav"), ("Talk-2", "numbers.mp3"), ("greetings", "greetings.mp3")):
        said = CLIPS[clip].text
        assert word_errors(said, transcribed.text(f"{name}.txt")) <= 0.1 * count_words(said)


def test_every_format_is_written_and_says_the_same(transcribed: Transcribed) -> None:
    written = {path.name for path in (transcribed.folder / "out").iterdir()}
    stems = ("talk", "Talk-2", "t_1", "greetings")
    assert written == {f"{stem}{artifact.extension}" for stem in stems for artifact in ARTIFACTS.values()}
    master = json.loads(transcribed.text("Talk-2.json"))
    verbose = json.loads(transcribed.text("Talk-2.verbose.json"))
    assert verbose["text"].split() == master["text"].split()
    assert verbose["language"] == "english"
    assert transcribed.text("Talk-2.vtt").startswith("WEBVTT\n")
    assert transcribed.text("Talk-2.srt").startswith("1\n00:00:")
    assert transcribed.text("Talk-2.tsv").startswith("start\tend\ttext\n")


def test_records_tell_of_language_length_and_files(transcribed: Transcribed) -> None:
    record = transcribed.records[0]
    assert record["language"] == "en"
    assert abs(record["duration"] - CLIPS["hello.wav"].seconds) < 0.1
    assert all((transcribed.folder / file).is_file() for file in record["files"])
    assert [record["source"] for record in transcribed.records] == transcribed.sources


def test_progress_is_not_in_the_way_of_pipes(transcribed: Transcribed) -> None:
    assert [line for line in transcribed.ran.err.splitlines() if not line.startswith("{")] == []


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--format", "docx", "a.wav"), "docx"),
        (("--language", "klingon", "a.wav"), "language"),
        (("--beam-size", "0", "a.wav"), "--beam-size"),
        (("--temperature", "2", "a.wav"), "temperature"),
        (("--no-vad", "--vad-threshold", "0.4", "a.wav"), "--vad"),
        (("--device", "abacus", "a.wav"), "DEVICE"),
        (("--model", "./none", "a.wav"), "./none"),
        (("ftp://example.org/a.wav",), "ftp"),
        ((), "SOURCE"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and value else None,
)
def test_wrong_usage_is_named_and_nothing_is_written(tmp_path: Path, arguments: Sequence[str], names: str) -> None:
    ran = sqscribe("transcribe", "-o", "out", *arguments, folder=tmp_path)
    assert ran.code == ExitCode.USAGE, ran.err
    assert names in ran.err
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


# -- what every command owes -------------------------------------------------------------------------------------------

#: Runs a command without a network and tells, when it has ended, which heavy modules it has loaded.
GUARDED = """
import atexit, socket, sys

class NoNetwork(socket.socket):
    def connect(self, *_):
        raise AssertionError("a command connected to something")

socket.socket = NoNetwork
socket.getaddrinfo = None
HEAVY = ("torch", "ctranslate2", "boto3", "botocore", "onnxruntime", "yt_dlp", "faster_whisper", "moto", "numpy")
atexit.register(lambda: print("LOADED", *[name for name in HEAVY if name in sys.modules], file=sys.stderr))
from sqscribe.cli import main
main()
"""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_needs_no_network_and_nothing_heavy(tmp_path: Path, command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", GUARDED, *([command] if command else []), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == ExitCode.DONE, ended.stderr
    assert ended.stderr == "LOADED\n"
    for name in COMMANDS if not command else ("--help",):
        assert name in ended.stdout


def test_a_sender_pays_for_nothing_that_only_a_worker_needs(tmp_path: Path) -> None:
    # Given a job that is refused, so that a command runs to its end without a queue
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            GUARDED,
            "enqueue",
            "--queue-url",
            "https://sqs.test/1/q",
            "--format",
            "docx",
            "s3://abc/d",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == ExitCode.USAGE
    loaded = ended.stderr.splitlines()[-1].split()[1:]
    assert set(loaded) <= {"boto3", "botocore"}


def test_the_version_is_told(tmp_path: Path) -> None:
    ran = sqscribe("--version", folder=tmp_path)
    assert ran.code == ExitCode.DONE
    assert ran.out.startswith("sqscribe ")
    unknown = sqscribe("transcrib", folder=tmp_path)
    assert unknown.code == ExitCode.USAGE
    assert "transcrib" in unknown.err
