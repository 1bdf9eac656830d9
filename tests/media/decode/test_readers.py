# SPDX-License-Identifier: Apache-2.0
"""What a stranger's file may make its reader do: not much; and what becomes of readers and of their parent."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, NodeFaultError, PermanentError
from sqscribe_bench.media.hostile import absurd_index
from stages.decode.reader_limits import Ended, ReaderLimits, memory_for
from stages.decode.readers import Readers
from stages.ports import Cancellation
from stages.reader.wire import Kind, MessageReader, Report, Task

MIB = 2**20


def limits(timeout: float = 30, memory: int = 240 * MIB) -> ReaderLimits:
    return ReaderLimits(timeout, timeout, memory)


def task(path: Path | str) -> Task:
    return Task(str(path), None, (), 3600.0, None)


def run(*program: str, timeout: float = 30, memory: int = 240 * MIB) -> tuple[Ended, bytes]:
    """Runs a program in a reader's place."""
    written: list[bytes] = []
    readers = Readers(program)
    try:
        ended = readers.run(task("/f"), written.append, Cancellation(), limits(timeout, memory))
    finally:
        readers.close()
    return ended, b"".join(written)


def output(*program: str) -> str:
    ended, written = run(*program)
    assert ended.returncode == 0, ended.messages
    return written.decode()


def script(text: str) -> tuple[str, ...]:
    return "sh", "-c", text


@pytest.fixture
def readers() -> Iterator[Readers]:
    real = Readers()
    yield real
    real.close()


def decoded(readers: Readers, path: Path) -> tuple[Ended, Report]:
    """A file through a real reader."""
    reports: list[Report] = []
    messages = MessageReader()

    def sink(chunk: bytes) -> None:
        reports.extend(Report.parse(each.payload) for each in messages.feed(chunk) if each.kind == Kind.REPORT)

    ended = readers.run(task(path), sink, Cancellation(), limits())
    return ended, reports[0]


#: Parents of readers that other tests have left to the collector of garbage.
OTHERS: set[psutil.Process] = set()


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(own_children())


def own_children() -> list[psutil.Process]:
    found = [each for each in psutil.Process().children() if each not in OTHERS]
    return [each for each in found if "stages.reader.parent" in " ".join(each.cmdline())]


def wait_for(condition: Callable[[], Any]) -> Any:
    for _ in range(500):
        if value := condition():
            return value
        threading.Event().wait(0.02)
    return pytest.fail("it did not come about")


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# -- one parent, many readers ------------------------------------------------------------------------------------------


def test_all_files_are_read_by_children_of_one_parent_without_threads(readers: Readers, sentence: Path) -> None:
    # Given a worker that decodes several files at once
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decoded(readers, sentence), range(12)))
    # Then each got its own, and one process without threads has started all of them
    assert [report.decoded for _, report in found] == [11.0] * 12
    (parent,) = own_children()
    assert parent.num_threads() == 1
    assert parent.children() == []
    # And of each is known what it took
    assert all(0 < end.cpu_seconds < 5 and 10 * MIB < end.peak < 300 * MIB for end, _ in found)


def test_a_reader_that_crashes_harms_no_other(sentence: Path) -> None:
    # Given files among which some crash their reader
    readers = Readers(script('case "$0" in *crash*) kill -SEGV $$;; *) sleep 0.3; echo sound;; esac'))

    def read(number: int) -> tuple[int, bytes]:
        written: list[bytes] = []
        name = "/crash" if number % 2 else "/good"
        end = readers.run(task(name), written.append, Cancellation(), limits())
        return end.returncode, b"".join(written)

    # When they are read at once
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(read, range(12)))
    # Then those end by their signal, and the others as if nothing were
    assert found == [(0, b"sound\n"), (-signal.SIGSEGV, b"")] * 6
    assert len(own_children()) == 1
    readers.close()
    assert own_children() == []


def test_a_reader_has_nothing_open_but_its_pipes(tmp_path: Path) -> None:
    # Given another reader at work, whose pipes and socket its parent holds
    readers = Readers(script('ls /proc/self/fd; case "$0" in *long*) sleep 30;; esac'))
    calls, seen = Cancellation(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(readers.run, task("/long"), lambda _: seen.set(), calls, limits())
        assert seen.wait(20)
        # When a second one is started
        written: list[bytes] = []
        readers.run(task("/short"), written.append, Cancellation(), limits())
        calls.cancel(CancelReason.SHUTDOWN)
        with pytest.raises(Cancelled):
            long.result()
    readers.close()
    # Then it has input, output, messages (and what `ls` opens itself)
    assert sorted(b"".join(written).split()) == [b"0", b"1", b"2", b"3"]


def test_a_parent_that_died_is_replaced(readers: Readers, sentence: Path) -> None:
    decoded(readers, sentence)
    (parent,) = own_children()
    parent.kill()
    wait_for(lambda: ended(parent))

    assert decoded(readers, sentence)[1].decoded == 11.0


def test_readers_end_with_their_parent_and_that_is_no_files_fault() -> None:
    # Given a reader at work
    readers = Readers(script("echo at work; exec sleep 60"))
    at_work = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(readers.run, task("/f"), lambda _: at_work.set(), Cancellation(), limits())
        assert at_work.wait(20)
        (parent,) = own_children()
        (reader,) = parent.children()
        # When its parent is killed, as by the out-of-memory killer
        parent.kill()
        # Then it ends as killed, too
        assert running.result(20).returncode == -signal.SIGKILL
        wait_for(lambda: ended(reader))
    readers.close()


def test_a_parent_that_hangs_is_a_matter_of_this_machine_and_a_job_can_still_be_called_off(
    readers: Readers, sentence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a parent that does nothing more
    monkeypatch.setattr("stages.decode.readers.PATIENCE", 1.0)
    decoded(readers, sentence)
    (parent,) = own_children()
    parent.suspend()
    # When files are to be read, one of them for a job that is called off
    calls = Cancellation()
    calls.cancel(CancelReason.SHUTDOWN)
    with pytest.raises(Cancelled):
        readers.run(task(sentence), lambda _: None, calls, limits())
    # Then it is replaced
    wait_for(lambda: ended(parent))
    assert decoded(readers, sentence)[1].decoded == 11.0
    (second,) = own_children()
    second.suspend()
    with pytest.raises(NodeFaultError, match="hangs"):
        decoded(readers, sentence)


def test_all_end_with_the_worker_though_it_is_killed() -> None:
    # Given a worker with a reader at work, in a process of its own
    program = (
        "import sys\n"
        "from stages.decode.reader_limits import ReaderLimits\n"
        "from stages.decode.readers import Readers\n"
        "from stages.ports import Cancellation\n"
        "from stages.reader.wire import Task\n"
        "readers = Readers(['sh', '-c', \"trap '' TERM INT HUP; echo; while :; do sleep 1; done\"])\n"
        "limits = ReaderLimits(60, 60, 2**28)\n"
        "readers.run(Task('/f', None, (), 9, None), lambda _: print('on', flush=True), Cancellation(), limits)\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root) as worker:
        assert worker.stdout
        assert worker.stdout.readline() == b"on\n"
        started = psutil.Process(worker.pid).children(recursive=True)
        assert len(started) >= 2
        # When the worker is killed
        worker.kill()
    # Then the parent ends, and the reader with all that it has started
    wait_for(lambda: all(ended(each) for each in started))


def test_what_a_reader_has_started_ends_with_it() -> None:
    # Given a reader that leaves a program behind, which holds its pipes open
    end, written = run(*script("sleep 60 & echo $!"), timeout=20)
    # Then nobody waits for that, and it is gone
    assert end.returncode == 0
    pid = int(written)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_parent_that_cannot_load_its_libraries_is_a_matter_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a PyAV whose libraries are missing
    package = tmp_path / "av"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libavcodec.so.62: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "av"]:
        monkeypatch.delitem(sys.modules, name)
    readers = Readers()
    # When a file is to be read
    with pytest.raises(NodeFaultError, match=r"no file can be decoded on this machine.*libavcodec\.so\.62"):
        readers.run(task("/f"), lambda _: None, Cancellation(), limits())
    readers.close()


# -- limits ------------------------------------------------------------------------------------------------------------


def test_its_limits_are_set() -> None:
    found = dict(re.findall(r"^(Max [a-z ]+?)  +(\S+)", output("sh", "-c", "cat /proc/$$/limits"), re.MULTILINE))

    assert int(found["Max data size"]) == 240 * MIB
    assert found["Max file size"] == "0"
    assert found["Max core file size"] == "0"
    assert found["Max open files"] == "64"
    assert found["Max cpu time"] == "30"


def test_the_worker_itself_keeps_its_own() -> None:
    names = (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)
    before = [resource.getrlimit(each) for each in names]
    output("true")

    assert before == [resource.getrlimit(each) for each in names]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_it_writes_no_file(tmp_path: Path) -> None:
    target = tmp_path / "written"

    end, _ = run("sh", "-c", f"exec head -c 9 /dev/zero > {target}")

    assert end.returncode in {-signal.SIGXFSZ, 1}
    assert target.stat().st_size == 0


def test_it_sees_paths_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("FFREPORT", "file=/tmp/report.log")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    seen = output(sys.executable, "-I", "-c", "import os; print(*os.environ)").split()

    assert "PATH" in seen
    assert not {"AWS_SECRET_ACCESS_KEY", "FFREPORT", "http_proxy"} & set(seen)


def test_it_is_ended_when_it_computes_for_too_long() -> None:
    # Given a program with threads, which use up the processor faster than time goes by
    burn = "import threading, zlib; f = lambda: [zlib.compress(bytes(10**7)) for _ in range(999)]"
    program = f"{burn}; [threading.Thread(target=f).start() for _ in range(4)]"
    readers = Readers([sys.executable, "-I", "-c", program])

    with pytest.raises(PermanentError) as caught:
        readers.run(task("/f"), lambda _: None, Cancellation(), ReaderLimits(1, 60, 240 * MIB))
    readers.close()

    # Then it is ended by the one limit or, on a busy machine, by the other
    assert caught.value.code == ErrorCode.MEDIA_UNREADABLE
    assert "decoding was ended" in caught.value.message


def test_one_that_only_computes_is_told_from_one_that_was_killed() -> None:
    # Given a program that meets its limit of processor time
    with pytest.raises(PermanentError) as caught:
        run("sh", "-c", "kill -XCPU $$", timeout=7)

    assert caught.value.message == "decoding was ended: it used more than 7 s of processor time"


@pytest.mark.parametrize("samples", [9_000_000, 20_000_000, 4_000_000_000])
def test_a_small_file_takes_little_memory_whatever_its_index_says(
    tmp_path: Path, readers: Readers, samples: int
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(absurd_index(samples))
    try:
        end, _ = decoded(readers, path)
    except PermanentError as error:  # it was refused memory
        assert "more than 240 MiB" in error.message  # noqa: PT017 - either is right
    else:
        assert end.peak < 300_000_000


@pytest.mark.parametrize(
    "script", ["echo '[mov @ 0x1] Cannot add index entry' >&2; echo sound", "echo 'Cannot allocate memory' >&2; exit 1"]
)
def test_that_it_is_refused_memory_is_the_files_fault(script: str) -> None:
    with pytest.raises(PermanentError) as caught:
        run("sh", "-c", script, timeout=9, memory=300 * MIB)

    assert caught.value.code == ErrorCode.MEDIA_UNREADABLE
    assert "more than 300 MiB" in caught.value.message


def test_a_packet_that_claims_all_memory_does_not_cost_the_sound() -> None:
    assert output("sh", "-c", "echo 'Cannot allocate memory' >&2; echo sound") == "sound\n"


def test_large_files_have_more_memory_for_their_index() -> None:
    assert memory_for(0) == 240 * MIB
    assert memory_for(200 * MIB) == 390 * MIB
    assert memory_for(2**40) == 768 * MIB
