# SPDX-License-Identifier: Apache-2.0
"""Workers that are told to stop, whatever they are doing: the end comes inside the grace, and leaves nothing behind.

    make test PROCESSES=0 ARGS='tests/process/test_shutdown_moments.py -s'

prints how long each took. `MOMENTS_SEED=7` before it draws other moments. The workers are programs, on an embedded SQS
and S3; their engines are real processes with a simulated device.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from sqscribe.bundled import demo_clips
from sqscribe_bench.chaos.site import CaseSite
from sqscribe_bench.chaos.workers import Worker
from worker.embedded.aws import EmbeddedAws
from worker.testing.faults import CallFault, FaultProxy, Kind
from worker.testing.recordings import looped
from worker.testing.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.wire, pytest.mark.slow]

CLIPS = {clip.name: clip.path for clip in demo_clips()}
#: Seconds from the signal to the end; the second one where a poll, three tenths of it, has to be met in time.
GRACE, POLLING_GRACE = 10.0, 12.0
#: Seconds of a lease that a worker has to renew while it stops, and of one that would hide for long what it forgot.
SHORT_LEASE, LONG_LEASE = 4, 300
#: The moments at random, how many of them come while a worker still starts, and the seconds that they are drawn from.
MOMENTS, EARLY = 20, 4
STARTING, RUNNING = (0.0, 2.5), (0.0, 3.5)
#: What is sent for each of them: of 6 to 150 seconds.
MIXTURE = ("hello.wav", "hello.wav", "briefing.m4a", "hello.wav", "lecture.mp3", "briefing.m4a", "interview.ogg")
#: Longest wait for anything that should come; only a failing test gets there.
PATIENCE = 90.0

RENEWALS, RECEIVES = "ChangeMessageVisibilityBatch", "ReceiveMessage"
#: A call that gets no answer for longer than any stop takes.
NO_ANSWER = CallFault(Kind.TIMEOUT, seconds=60.0)


# -- what every stop has to keep ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stop:
    """How one worker stopped.

    Attributes:
        what: It was doing.
        held: Messages that it held when it was told to.
        seconds: From the signal to its end.
        problems: What is against it, in words.
    """

    what: str
    held: int
    seconds: float
    problems: tuple[str, ...]


def stop(site: CaseSite, one: Worker, what: str, grace: float = GRACE) -> Stop:
    """Tells a worker to stop, if nobody has, and looks at what it leaves behind as soon as it has ended."""
    held = site.count()[1]
    one.close(grace + PATIENCE)
    hidden, left = site.count()[1], site.kin(one.name)
    (end,) = one.exits
    # Python's resource tracker ends by itself when it sees its parent gone, a moment later.
    others = [line for line in left if "resource_tracker" not in line]
    log = site.events(one)
    # Before Python has come so far as to take charge of signals, SIGTERM just ends it.
    taken_charge = any(event["event"] == "worker_started" for event in log)
    checks = {
        f"exit code {end.code}": end.code != 0 and (taken_charge or end.code != -signal.SIGTERM),
        f"{end.seconds:.2f} s": end.seconds > grace,
        f"{hidden} messages hidden": hidden != 0,
        f"left running: {others}": bool(others),
        "scratch left": end.code == 0 and any(site.scratch(one.name).iterdir()),
        "no word of its end": taken_charge and log[-1]["event"] != "worker_stopped",
        f"errors: {[event for event in log if event['severity'] == 'error']}": "error" in {e["severity"] for e in log},
    }
    eventually(lambda: site.kin(one.name) == [], seconds=5)
    return Stop(what, held, end.seconds, tuple(text for text, broken in checks.items() if broken))


def check_log(site: CaseSite, *workers: Worker) -> None:
    """That the calls broke no rule, and no lease ran out before its message was given back or deleted."""
    audit = site.audit({end.caller: end.at for one in workers for end in one.exits if end.code == 0})
    assert audit.violations == []
    assert (audit.refusals, audit.stale_deletes) == (0, 0)


# -- the places --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws() as running:
        yield running


@pytest.fixture(scope="module")
def figures() -> Iterator[list[Stop]]:
    """Prints a table of all stops at the end."""
    stops: list[Stop] = []
    yield stops
    print("\n\n  seconds  held  told to stop")
    for each in stops:
        print(f"  {each.seconds:7.2f}  {each.held:4}  {each.what}")


class Source:
    """Recordings that never come to an end.

    Attributes:
        asked: How many connections were made.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._leave = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Endless, self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def url(self, how: str) -> str:
        """Of one that is `silent`, or whose body `drips`."""
        return f"http://127.0.0.1:{self._server.server_port}/{how}.mp3"

    def close(self) -> None:
        self._leave.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def rest(self, seconds: float) -> bool:
        return not self._leave.wait(seconds)


class _Endless(BaseHTTPRequestHandler):
    def __init__(self, source: Source, *arguments: object) -> None:
        self._source = source
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._source.asked += 1
        if "silent" not in self.path:
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            self.send_header("Content-Length", "1000000000")
            self.end_headers()
        with suppress(OSError):
            while self._source.rest(0.1):
                if "drips" in self.path:
                    self.wfile.write(bytes(4096))

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def source() -> Iterator[Source]:
    endless = Source()
    yield endless
    endless.close()


@pytest.fixture
def site(aws: EmbeddedAws, tmp_path: Path) -> Iterator[Callable[..., CaseSite]]:
    """Makes sites behind one proxy."""
    with FaultProxy(aws.url, tmp_path / "access.jsonl", rate=0.0, truncated=0.0) as proxy:

        def make(name: str, **settings: object) -> CaseSite:
            name = f"{name}-{os.urandom(4).hex()}"
            return CaseSite(aws, proxy, name, tmp_path, **{"shutdown_grace": GRACE, **settings})

        yield make


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    """Starts workers and waits until they take messages; ends what is left of them."""
    workers: list[Worker] = []

    def started(site: CaseSite, name: str, *, wait: bool = True, **simulation: object) -> Worker:
        one = site.worker(f"{site.name}-{name}", simulation)
        workers.append(one)
        one.look_after()
        eventually(lambda: not wait or one.ready)
        return one

    yield started
    for one in workers:
        one.close(PATIENCE)


# -- at any moment -----------------------------------------------------------------------------------------------------


def test_at_twenty_random_moments_everything_is_given_back_in_time(
    site: Callable[..., CaseSite],
    start: Callable[..., Worker],
    source: Source,
    figures: list[Stop],
) -> None:
    # Given three queues of which workers, one after another, take jobs of every kind, so that every stage is busy
    seed = int(os.environ.get("MOMENTS_SEED", "1"))
    rng = random.Random(seed)
    print(f"\nMOMENTS_SEED={seed}")
    moments = [("starts", rng.uniform(*STARTING)) for _ in range(EARLY)]
    moments += [("works", rng.uniform(*RUNNING)) for _ in range(MOMENTS - EARLY)]
    rng.shuffle(moments)
    sites = [
        site(f"lane-{lease}", visibility_timeout=lease, downloaders=4, checkpoint_seconds=1)
        for lease in (SHORT_LEASE, SHORT_LEASE, LONG_LEASE)
    ]
    sites[0].proxy.force("PutObject", CallFault(Kind.STALL, seconds=0.2))
    workers: list[Worker] = []

    def stopped(here: CaseSite, number: int) -> Stop:
        phase, delay = moments[number]
        for place, clip in enumerate(MIXTURE):
            here.send(f"{clip}-{number}-{place}", here.upload(clip, CLIPS[clip].read_bytes()))
        one = start(here, str(number), wait=phase == "works", window_seconds=0.8)
        workers.append(one)
        threading.Event().wait(delay)
        # When they are told to stop at any moment
        return stop(here, one, f"at random: {delay:.2f} s after it {'was ready' if phase == 'works' else 'started'}")

    def lane(here: CaseSite, numbers: range) -> list[Stop]:
        here.send("drips", source.url("drips"))
        return [stopped(here, number) for number in numbers]

    with ThreadPoolExecutor(len(sites)) as pool:
        lanes = list(pool.map(lane, sites, (range(first, MOMENTS, len(sites)) for first in range(len(sites)))))
    stops = sorted((each for stops in lanes for each in stops), key=lambda each: each.what)
    figures += stops

    # Then each of them ends in time and in order, holds nothing and leaves nothing behind
    kept = [each for each in stops if not each.problems]
    seconds = [each.seconds for each in stops if "ready" in each.what]
    called_off = Counter(
        event["stage"] for one in workers for event in sites[0].events(one) if event["event"] == "job_cancelled"
    )
    print(f"{len(kept)} of {MOMENTS}; jobs that were called off: {dict(called_off)}")
    print(f"of those at work: median {statistics.median(seconds):.2f} s, most {max(seconds):.2f} s of {GRACE:g} s")
    assert [each for each in stops if each.problems] == []
    assert len(kept) == MOMENTS
    # And they were at work, not idle
    assert called_off["prepare"]
    assert called_off["inference"]
    for here in sites:
        check_log(here, *(one for one in workers if one.name.startswith(here.name)))


# -- in the middle of one thing ----------------------------------------------------------------------------------------


def test_during_downloads_that_hang(
    site: Callable[..., CaseSite], start: Callable[..., Worker], source: Source, figures: list[Stop]
) -> None:
    # Given two downloads from a server that says nothing at all, and a job that waits for its turn
    here = site("download", visibility_timeout=SHORT_LEASE, downloaders=2)
    for number in range(3):
        here.send(f"hangs-{number}", source.url("silent"))
    one = start(here, "one")
    eventually(lambda: source.asked == 2)
    # When the worker is told to stop, then everything is given back
    end = stop(here, one, "two downloads hang")
    figures.append(end)
    assert end.problems == ()
    assert here.count() == (3, 0)
    check_log(here, one)


def test_during_a_decode_of_a_long_file(
    site: Callable[..., CaseSite], start: Callable[..., Worker], figures: list[Stop], tmp_path: Path
) -> None:
    # Given a job that the engine will not be through with, and a reader with three hours before it
    here = site("decode", visibility_timeout=SHORT_LEASE)
    one = start(here, "one", batch_seconds=60)
    here.send("held", here.upload("clip.wav", CLIPS["hello.wav"].read_bytes()))
    eventually(lambda: prepared(here, one, "held"))
    here.send("long", here.upload("long.mp3", looped("lecture.mp3", 72, tmp_path).read_bytes()))
    eventually(lambda: decoders(one))
    (reader,) = decoders(one)
    # When the worker is told to stop
    one.signal(signal.SIGTERM)
    # Then the reader is gone at once, and no zombie of it is left, while the worker gives the engine its time
    eventually(lambda: not reader.is_running(), seconds=2)
    assert one.family()
    end = stop(here, one, "three hours are being decoded; a batch takes a minute")
    figures.append(end)
    assert end.problems == ()
    assert here.count() == (2, 0)
    check_log(here, one)


def decoders(one: Worker) -> list[psutil.Process]:
    """The readers of media that a worker runs: forked by a parent that it has started."""
    parents = [process for process in one.family()[1:] if "stages.reader.parent" in " ".join(process.cmdline())]
    return [process for process in parents if process.ppid() in {parent.pid for parent in parents}]


def prepared(here: CaseSite, one: Worker, job: str) -> bool:
    """Whether the engine has got a job."""
    return any(event["event"] == "job_prepared" and event["job"] == job for event in here.events(one))


def test_during_a_batch_that_takes_long(
    site: Callable[..., CaseSite], start: Callable[..., Worker], figures: list[Stop]
) -> None:
    # Given a batch on the device that outlasts every grace
    here = site("batch", visibility_timeout=SHORT_LEASE)
    one = start(here, "one", batch_seconds=60)
    message = here.send("held", here.upload("clip.wav", CLIPS["hello.wav"].read_bytes()))
    eventually(lambda: prepared(here, one, "held"))
    # When the worker is told to stop
    told = time.time()
    end = stop(here, one, "a batch takes a minute")
    figures.append(end)
    # Then its message is visible, and was kept by renewals until it was given back
    assert end.problems == ()
    assert here.count() == (1, 0)
    changes = [access for access in here.accesses(RENEWALS, one.caller) if access.began > told]
    seconds = [entry.seconds for access in changes for entry in access.entries if entry.id == message]
    assert seconds[-1] == 0
    assert seconds[:-1]
    assert set(seconds[:-1]) == {SHORT_LEASE}
    check_log(here, one)


def test_with_many_clips_and_a_slow_queue(
    site: Callable[..., CaseSite], start: Callable[..., Worker], figures: list[Stop]
) -> None:
    # Given more clips in the engine than calls of the queue, one after another, would fit into the grace
    count, seconds = 30, 0.5
    assert count * seconds > GRACE
    here = site("many", visibility_timeout=LONG_LEASE, downloaders=4)
    clip = here.upload("clip.wav", CLIPS["hello.wav"].read_bytes())
    for number in range(count):
        here.send(f"job-{number}", clip)
    one = start(here, "one", batch_seconds=60)
    eventually(lambda: sum(event["event"] == "job_prepared" for event in here.events(one)) == count)
    here.proxy.force(RENEWALS, CallFault(Kind.STALL, seconds=seconds))
    # When the worker is told to stop, then it ends in time, and gives everything back
    end = stop(here, one, f"{count} clips wait for the device; a call of the queue takes {seconds} s")
    figures.append(end)
    assert end.problems == ()
    assert here.count() == (count, 0)
    check_log(here, one)


@pytest.mark.parametrize(
    ("operation", "settings"), [("PutObject", {"uploaders": 4}), ("GetObject", {"downloaders": 4})]
)
def test_during_calls_of_the_store_that_get_no_answer(
    site: Callable[..., CaseSite],
    start: Callable[..., Worker],
    figures: list[Stop],
    operation: str,
    settings: dict[str, object],
) -> None:
    # Given four threads that wait for the store
    here = site("store", visibility_timeout=SHORT_LEASE, **settings)
    clip = here.upload("clip.wav", CLIPS["hello.wav"].read_bytes())
    one = start(here, "one")
    here.proxy.force(operation, NO_ANSWER)
    for number in range(6):
        here.send(f"job-{number}", clip)
    eventually(lambda: len(here.accesses(operation, one.caller)) >= 4)
    # When the worker is told to stop, then it ends in time, and gives everything back
    end = stop(here, one, f"four {operation} get no answer")
    figures.append(end)
    assert end.problems == ()
    assert here.count() == (6, 0)
    check_log(here, one)


@pytest.mark.parametrize("late", [False, True], ids=["at once", "at the end of the poll"])
def test_during_a_poll_that_brings_a_message_after_the_stop(
    site: Callable[..., CaseSite], start: Callable[..., Worker], figures: list[Stop], late: bool
) -> None:
    # Given a worker without work, and a poll of it that has just begun
    here = site("poll", visibility_timeout=LONG_LEASE, shutdown_grace=POLLING_GRACE)
    one = start(here, "one")
    eventually(lambda: len(here.accesses(RECEIVES)) == 1)
    # When it is told to stop, and has heard it, and a message comes before the poll ends
    one.signal(signal.SIGTERM)
    told = time.monotonic()
    eventually(lambda: any(event["event"] == "stop_asked" for event in here.events(one)))
    if late:
        threading.Event().wait(told + 0.3 * POLLING_GRACE - time.monotonic())
    message = here.send("late", here.upload("clip.wav", CLIPS["hello.wav"].read_bytes()))
    end = stop(here, one, f"no work; a message comes {'at the end of the poll' if late else 'at once'}", POLLING_GRACE)
    figures.append(end)
    # Then the message is visible as soon as the worker has ended, and stays so when the poll has ended
    assert end.problems == ()
    eventually(lambda: len(here.accesses(RECEIVES)) == 2)
    assert here.count() == (1, 0)
    # And it was given back as soon as it had come
    brought, given_back = (
        [access for access in here.accesses(operation) if message in {entry.id for entry in access.entries}]
        for operation in (RECEIVES, RENEWALS)
    )
    assert len(brought) == len(given_back) == 1
    assert given_back[0].ended - brought[0].ended < 1.0
    check_log(here, one)
