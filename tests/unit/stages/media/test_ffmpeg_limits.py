# SPDX-License-Identifier: Apache-2.0
"""What a stranger's file may make ffmpeg do: not much."""

from __future__ import annotations

import re
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe_bench.media.hostile import absurd_index
from stages.ffmpeg import find_ffmpeg, last_words, memory_for, run
from stages.ports import Cancellation

MIB = 2**20


def output(*command: str, timeout: float = 30) -> str:
    written: list[bytes] = []
    ended = run(command, written.append, Cancellation(), timeout=timeout, stall_timeout=timeout)
    assert ended.returncode == 0, ended.messages
    return b"".join(written).decode()


#: Waits until it is confined, which is done once it has been started.
LIMITED = "while ! grep -q 'Max open files *64 *64' /proc/$$/limits; do sleep 0.02; done; "


def test_its_limits_are_set() -> None:
    limits = dict(
        re.findall(r"^(Max [a-z ]+?)  +(\S+)", output("sh", "-c", LIMITED + "cat /proc/$$/limits"), re.MULTILINE)
    )

    assert int(limits["Max data size"]) == 240 * MIB
    assert limits["Max file size"] == "0"
    assert limits["Max core file size"] == "0"
    assert limits["Max open files"] == "64"
    assert limits["Max cpu time"] == "30"


def test_the_worker_itself_keeps_its_own() -> None:
    before = [
        resource.getrlimit(each) for each in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)
    ]
    output("true")
    after = [resource.getrlimit(each) for each in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)]

    assert before == after


def test_it_writes_no_file(tmp_path: Path) -> None:
    target = tmp_path / "written"

    ended = run(
        ["sh", "-c", f"{LIMITED} exec head -c 9 /dev/zero > {target}"],
        lambda _: None,
        Cancellation(),
        timeout=30,
        stall_timeout=30,
    )

    assert ended.returncode in {-signal.SIGXFSZ, 1}
    assert target.stat().st_size == 0


def test_it_sees_paths_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("FFREPORT", "file=/tmp/report.log")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    seen = output(sys.executable, "-I", "-c", "import os; print(*os.environ)").split()

    assert "PATH" in seen
    assert not {"AWS_SECRET_ACCESS_KEY", "FFREPORT", "http_proxy"} & set(seen)


def test_it_is_ended_when_it_computes_for_too_long() -> None:
    # Given a program with two threads, which use up the processor twice as fast as time goes by
    burn = "import threading, zlib; f = lambda: [zlib.compress(bytes(10**7)) for _ in range(999)]"
    program = f"{burn}; [threading.Thread(target=f).start() for _ in range(4)]"

    with pytest.raises(PermanentError) as caught:
        run([sys.executable, "-I", "-c", program], lambda _: None, Cancellation(), timeout=1, stall_timeout=60)

    # Then it is ended by the one limit or, on a busy machine, by the other
    assert caught.value.code == ErrorCode.MEDIA_UNREADABLE
    assert "decoding was ended" in caught.value.message


def test_one_that_only_computes_is_told_from_one_that_was_killed() -> None:
    # Given a program that meets its limit of processor time
    with pytest.raises(PermanentError) as caught:
        run(["sh", "-c", "kill -XCPU $$"], lambda _: None, Cancellation(), timeout=7, stall_timeout=7)

    assert caught.value.message == "decoding was ended: it used more than 7 s of processor time"


@pytest.mark.parametrize("samples", [9_000_000, 20_000_000, 4_000_000_000])
def test_a_small_file_takes_little_memory_whatever_its_index_says(tmp_path: Path, samples: int) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(absurd_index(samples))
    peaks: list[int] = []
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", str(path), "-f", "s16le", "pipe:1"]

    # Started by a program that says what it took, once that one is confined.
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    starter = f'{LIMITED} exec {sys.executable} -I -c "$0" "$@"'
    with suppress(PermanentError):  # it may have been refused memory
        run(
            ["sh", "-c", starter, program, *command],
            lambda chunk: peaks.append(int(chunk)),
            Cancellation(),
            timeout=60,
            stall_timeout=60,
        )

    assert peaks
    assert peaks[0] * 1024 < 300_000_000


@pytest.mark.parametrize(
    "script", ["echo '[mov @ 0x1] Cannot add index entry' >&2; echo sound", "echo 'Cannot allocate memory' >&2; exit 1"]
)
def test_that_it_is_refused_memory_is_the_files_fault(script: str) -> None:
    with pytest.raises(PermanentError) as caught:
        run(["sh", "-c", script], lambda _: None, Cancellation(), timeout=9, stall_timeout=9, memory=300 * MIB)

    assert caught.value.code == ErrorCode.MEDIA_UNREADABLE
    assert "more than 300 MiB" in caught.value.message


def test_a_packet_that_claims_all_memory_does_not_cost_the_sound() -> None:
    assert output("sh", "-c", "echo 'Cannot allocate memory' >&2; echo sound") == "sound\n"


def test_large_files_have_more_memory_for_their_index() -> None:
    assert memory_for(0) == 240 * MIB
    assert memory_for(300 * MIB) == 390 * MIB
    assert memory_for(2**40) == 768 * MIB


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("", ""),
        ("[mov,mp4 @ 0x55f] moov atom not found\nError opening input files: Invalid data\n", "moov atom not found"),
        (
            "[in#0 @ 0x5] Error opening input: I/O error\nError opening input file file:/s/a.bin.\n",
            "Error opening input: I/O error",
        ),
        ("file:/s/a.bin: Invalid argument\n", "the file: Invalid argument"),
        ("Conversion failed!\n", "Conversion failed!"),
        ("x" * 999, "x" * 200),
        ("a\x1b[31mb\n", "a[31mb"),
    ],
)
def test_what_it_said_last_is_shown_without_addresses_and_paths(messages: str, words: str) -> None:
    assert last_words(messages, Path("/s/a.bin")) == words
