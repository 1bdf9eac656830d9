# SPDX-License-Identifier: Apache-2.0
"""A real worker whose queue holds one message of each kind of misfortune among good ones."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from sqscribe.bundled import demo_clips
from sqscribe.errors import ExitCode
from worker.embedded.aws import EmbeddedAws, EmbeddedQueue
from worker.embedded.environment import free_port
from worker.embedded.program import WorkerProgram, worker_environment
from worker.testing.bad_server import BadServer
from worker.testing.certificates import self_signed
from worker.testing.faults.calls import Call
from worker.testing.misfortunes import BODY_LIMIT, CASES, Misfortune, Places, bad_bodies, bad_files, bad_jobs
from worker.testing.refusing import Refused, RefusingProxy, over_size
from worker.testing.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.wire]

CLIPS = {clip.name: clip.path for clip in demo_clips()}
#: Short ones, which the good jobs are about in turns.
GOOD_CLIPS = ("hello.wav", "numbers.mp3", "calendar.m4a", "letters.ogg", "commands.opus")
GOOD = 60
#: By how much the last good job may be later than without any misfortune.
DELAY_SECONDS = 60.0
#: For anything on a busy machine.
PATIENCE = 300.0
#: By how much the worker's process may grow when it meets each kind for the first time: threads, libraries, clients.
FIRST_BYTES = 128 << 20
#: And when it meets them again; a soak allows as much.
GROWTH_BYTES = 10 << 20
BOMB_BYTES = 1200 << 20


def refusals(call: Call) -> Refused | None:
    """What a source breaks off with, what may not be read, and the key of somebody's output."""
    bucket, _, key = call.resource.partition("/")
    if call.operation == "GetObject" and bucket == "media" and key == "breaks":
        return Refused(cut=100_000)
    if call.operation == "GetObject" and bucket == "media" and key == "forbidden":
        return Refused(403, "AccessDenied", "no")
    if call.operation == "PutObject" and bucket == "theirs" and key.startswith("locked/"):
        return Refused(400, "KMS.DisabledException", "the key is disabled")
    return over_size(call, BODY_LIMIT)


@dataclass
class Watch:
    """What a worker says of itself, looked at all the while.

    Attributes:
        not_live: What `/live` said whenever it was not 200.
        most_bytes: The most memory that the worker's process had.
        looks: How often it was looked at.
    """

    worker: WorkerProgram = field(repr=False)
    not_live: list[str] = field(default_factory=list)
    most_bytes: int = 0
    looks: int = 0
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        process = psutil.Process(self.worker.pid)
        while not self._ended.wait(0.25):
            with suppress(psutil.Error):
                self.most_bytes = max(self.most_bytes, process.memory_info().rss)
            with suppress(OSError, HTTPException):
                page = self.worker.get("/live")
                self.looks += 1
                if page.status != 200:
                    self.not_live.append(page.text)


@dataclass(frozen=True)
class Site:
    """A worker with a queue, buckets, and a proxy before both services."""

    aws: EmbeddedAws
    proxy: RefusingProxy
    queue: EmbeddedQueue
    worker: WorkerProgram
    scratch: Path

    def send(self, bodies: Sequence[str]) -> list[str]:
        return [self.aws.sqs.send_message(QueueUrl=self.queue.url, MessageBody=body)["MessageId"] for body in bodies]

    def results(self) -> dict[str, dict[str, Any]]:
        """Every `result.json` by its job's id."""
        found = {}
        for page in self.aws.s3.get_paginator("list_objects_v2").paginate(Bucket="out", Prefix="out/"):
            for entry in page.get("Contents", []):
                if entry["Key"].endswith("/result.json"):
                    body = self.aws.s3.get_object(Bucket="out", Key=entry["Key"])["Body"].read()
                    found[entry["Key"].split("/")[1]] = json.loads(body)
        return found

    def done(self, jobs: Sequence[str]) -> bool:
        """Whether all of them have a result; without reading them, as this is asked often."""
        self.worker.check()
        pages = self.aws.s3.get_paginator("list_objects_v2").paginate(Bucket="out", Prefix="out/")
        keys = {entry["Key"] for page in pages for entry in page.get("Contents", [])}
        return all(f"out/{job}/result.json" in keys for job in jobs)

    def ready(self) -> tuple[int, str]:
        page = self.worker.get("/ready")
        return page.status, page.text

    def clear(self) -> None:
        """Removes the output's bucket."""
        for page in self.aws.s3.get_paginator("list_objects_v2").paginate(Bucket="out"):
            for entry in page.get("Contents", []):
                self.aws.s3.delete_object(Bucket="out", Key=entry["Key"])
        self.aws.s3.delete_bucket(Bucket="out")

    def left(self) -> int:
        self.worker.check()
        return self.aws.count(self.queue.url).total

    def letters(self) -> dict[str, str]:
        """Codes of the dead letters by their job's id, or by the first letters of what is no job."""
        found = {}
        for letter in self.aws.dead_letters(self.queue):
            attribute = letter.get("MessageAttributes", {}).get("error_code")
            code = attribute["StringValue"] if attribute else "none"
            try:
                name = json.loads(letter["Body"])["job_id"]
            except (ValueError, KeyError, TypeError, RecursionError):
                name = letter["Body"][:30]
            found[name] = code
        return found


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws() as running:
        for bucket in ("media", "theirs"):
            running.make_bucket(bucket)
        for name in GOOD_CLIPS:
            running.s3.upload_file(str(CLIPS[name]), "media", name)
        for name in ("breaks", "forbidden"):
            running.s3.put_object(Bucket="media", Key=name, Body=bytes(300_000))
        yield running


@pytest.fixture
def site(aws: EmbeddedAws, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts workers, each with a queue and an output of its own."""
    started: list[Site] = []
    with RefusingProxy(aws.url) as proxy:

        def start(path: Path | None = None, **settings: object) -> Site:
            number = len(started)
            queue = aws.make_queue(f"{tmp_path.name}-{number}", max_receives=2, visibility_timeout=60)
            aws.make_bucket("out")
            values: dict[str, object] = {
                "queue_url": queue.url,
                "output": "s3://out/out",
                "model": "simulated:",
                "device": "cpu",
                "visibility_timeout": 60,
                "allow_private_sources": "true",  # all servers are on loopback
                "http_port": free_port(),
                "log_format": "json",
                "scratch_dir": tmp_path / "scratch",
                "shutdown_grace": 10,
                **settings,
            }
            env = worker_environment(aws, values, AWS_ENDPOINT_URL=proxy.url)
            if path is not None:
                env["PYTHONPATH"] = os.pathsep.join([str(path), env["PYTHONPATH"]])
            worker = WorkerProgram(env, tmp_path / "worker.log", own_session=True)
            started.append(Site(aws, proxy, queue, worker, tmp_path / "scratch"))
            worker.wait_until_ready(PATIENCE)
            return started[-1]

        yield start
        proxy.rule = lambda _call: None
        for each in started:
            each.worker.stop()
            each.clear()


@pytest.fixture
def server() -> Iterator[BadServer]:
    with BadServer(bomb_bytes=BOMB_BYTES) as server:
        server.serve({name: (CLIPS[name].read_bytes(), "application/octet-stream") for name in GOOD_CLIPS})
        yield server


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """Of a server with a certificate of its own making."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path, "media.test"))

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients hang up on it."""

    server = Quiet(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def good_jobs(server: BadServer, name: str, count: int = GOOD) -> dict[str, str]:
    """Bodies by job id: clips over HTTP and from S3 by turns."""
    jobs = {}
    for number in range(count):
        clip = GOOD_CLIPS[number // 2 % len(GOOD_CLIPS)]
        source = server.url(clip) if number % 2 else f"s3://media/{clip}"
        jobs[f"{name}-{number}"] = json.dumps({"source": source, "job_id": f"{name}-{number}"})
    return jobs


def timed(site: Site, jobs: Sequence[str], send: Callable[[], object]) -> float:
    """Seconds from the first message that is sent to the last result."""
    began = time.monotonic()
    send()
    eventually(lambda: site.done(jobs), PATIENCE, pause=0.2)
    return time.monotonic() - began


def cases_folder() -> Path | None:
    near = (folder / "shared" / "cases" for folder in Path(__file__).resolve().parents)
    return next((folder for folder in near if all((folder / name).is_file() for name in CASES)), None)


def unlike(
    misfortunes: Sequence[Misfortune], ids: dict[str, str], results: dict[str, Any], letters: dict[str, str]
) -> list[str]:
    """A line for each message of which something else became than should have."""
    lines = []
    for each in misfortunes:
        job = each.name if each.is_job else f"message-{ids[each.name]}"
        result = results.get(job)
        if result is None:
            code = "no result"
        else:
            code = (result["error"] or {}).get("code", "") if result["status"] == "failed" else ""
        named = [each.name, job, each.body[:30]]
        letter = next((letters[name] for name in named if name in letters), "")
        wanted = [(each.code, each.code)]
        if each.slow:  # given back at its last receive, it is in the queue, or SQS itself has put it aside
            wanted += [("no result", ""), ("no result", "none")]
        if (code, letter) not in wanted:
            told = (result or {}).get("error") or {}
            lines.append(f"{each.name:24} {each.code:20} {code:20} {letter:20} {told.get('message', '')[:120]}")
    return lines


@pytest.mark.undisturbed
def test_sixty_good_jobs_are_hardly_later_for_one_of_each_misfortune_among_them(
    site: Callable[..., Site], server: BadServer, tls_port: int, tmp_path: Path
) -> None:
    # Given a worker that has done sixty good jobs, and how long that took
    files = bad_files(tmp_path, server.url("numbers.mp3"), cases_folder())
    server.serve(files)
    one = site(max_source_bytes=1_100_000_000)
    one.proxy.rule = refusals
    # One page first: yt-dlp is loaded for it, which takes its memory once
    one.send([json.dumps({"source": server.url("page.html"), "job_id": "page"})])
    eventually(lambda: one.left() == 0, PATIENCE, pause=0.2)
    assert one.letters() == {"page": "media_unreadable"}
    alone = good_jobs(server, "alone")
    alone_seconds = timed(one, list(alone), lambda: one.send(list(alone.values())))
    before = psutil.Process(one.worker.pid).memory_info().rss
    # When sixty more come with one of each misfortune among them
    good = good_jobs(server, "good")
    bad = [*bad_bodies(), *bad_jobs(Places(server, tls_port, "s3://media", "s3://theirs/locked"), files)]
    ids: dict[str, str] = {}

    def send_mixed() -> None:
        bodies = iter(good.values())
        for each in bad:
            (ids[each.name],) = one.send([each.body])
            one.send(list(islice(bodies, 1)))
        one.send(list(bodies))

    with Watch(one.worker) as watch:
        seconds = timed(one, list(good), send_mixed)
        slow = sum(each.slow for each in bad)
        eventually(lambda: one.left() <= slow, PATIENCE, pause=0.5)
        # And what ends at its first receive comes once more
        first_bytes = watch.most_bytes
        again = [each for each in bad if each.code != "source_unreachable"]
        one.send([each.body.replace('"job_id": "', '"job_id": "again-') for each in again])
        eventually(lambda: one.left() <= slow, PATIENCE, pause=0.5)
        code = one.worker.stop()
    # Then all good ones are done, at their first receive
    results = one.results()
    assert {job: results[job]["status"] for job in good} == dict.fromkeys(good, "succeeded")
    assert {results[job]["attempts"] for job in good} == {1}
    # And of each bad one has become what should
    wrong = unlike(bad, ids, results, one.letters())
    assert not wrong, "\n".join(["\nname, wanted, result, dead letter, reason", *wrong])
    # And nobody was delayed, the worker was well all the while, did not grow, and left nothing
    told = f"{alone_seconds:.1f} s alone, {seconds:.1f} s among {len(bad)} others; {before >> 20} MB before,"
    told += f" {first_bytes >> 20} MB after one of each, {watch}"
    print(told)
    assert seconds <= alone_seconds + DELAY_SECONDS, told
    assert watch.not_live == []
    assert watch.looks > 0
    assert code == ExitCode.DONE
    assert first_bytes < before + FIRST_BYTES, told
    assert watch.most_bytes < first_bytes + GROWTH_BYTES, told
    assert [path for path in one.scratch.rglob("*") if path.is_file()] == []


# -- what changes while it runs ----------------------------------------------------------------------------------------


def wait_for_reason(site: Site, *words: str) -> None:
    """Until the worker is not ready, for this reason; it lives all the same."""

    def told() -> bool:
        site.worker.check()
        status, reason = site.ready()
        return status == 503 and all(word in reason for word in words)

    eventually(told, PATIENCE, pause=0.1)
    assert site.worker.get("/live").status == 200


def test_what_is_taken_away_while_it_runs_costs_no_message_and_work_goes_on_when_it_is_back(
    site: Callable[..., Site], server: BadServer
) -> None:
    one = site()
    sqs, jobs = one.aws.sqs, iter(good_jobs(server, "good").items())
    sent: list[str] = []

    def send_good(count: int) -> None:
        some = dict(islice(jobs, count))
        sent.extend(some)
        one.send(list(some.values()))

    def mended() -> bool:
        return one.left() == 0 and one.ready()[0] == 200

    send_good(2)
    eventually(mended, PATIENCE, pause=0.1)
    # When the dead-letter queue is deleted, and a message fails for good
    name = one.queue.dead_letter_url.rpartition("/")[2]
    sqs.delete_queue(QueueUrl=one.queue.dead_letter_url)
    one.send(["no job"])
    # Then it stays in the queue until there is somewhere to put it
    wait_for_reason(one, "the dead-letter queue", "NonExistentQueue")
    send_good(3)
    assert one.left() == 4
    sqs.create_queue(QueueName=name)
    eventually(mended, PATIENCE, pause=0.1)
    assert one.letters() == {"no job": "bad_message"}
    # When a permission of the queue is withdrawn
    denied = "is not authorized to perform: sqs:receivemessage"
    one.proxy.rule = lambda call: Refused(403, "AccessDenied", denied) if call.operation == "ReceiveMessage" else None
    wait_for_reason(one, denied)
    send_good(3)
    assert one.left() == 3
    one.proxy.rule = lambda _call: None
    eventually(mended, PATIENCE, pause=0.1)
    # When the source's bucket is forbidden, that is the job's own matter
    one.proxy.rule = refusals
    one.send([json.dumps({"source": "s3://media/forbidden", "job_id": "forbidden"})])
    eventually(lambda: one.left() == 0, PATIENCE, pause=0.1)
    assert one.ready()[0] == 200
    assert one.letters() == {"forbidden": "source_forbidden"}
    # When the output's bucket is removed
    results = one.results()
    one.clear()
    send_good(3)
    wait_for_reason(one, "SQSCRIBE_OUTPUT", "NoSuchBucket")
    assert one.left() == 3
    one.aws.make_bucket("out")
    eventually(mended, PATIENCE, pause=0.1)
    # Then every job was done, each in its first receive
    results |= one.results()
    assert {job: (results[job]["status"], results[job]["attempts"]) for job in sent} == dict.fromkeys(
        sent, ("succeeded", 1)
    )
    assert one.letters() == {}
    assert one.worker.stop() == ExitCode.DONE


# -- slow and dead sources ---------------------------------------------------------------------------------------------

#: Run by the worker before all else: makes a name of forty addresses, as no resolver of a test's machine knows one.
MANY_ADDRESSES = """
import socket
_known = socket.getaddrinfo
def getaddrinfo(host, port, *args, **options):
    if host != "many.test":
        return _known(host, port, *args, **options)
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.1.{n}", port)) for n in range(1, 41)]
socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Every address of this machine leaves callers waiting on it: nobody accepts, and the line is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("0.0.0.0", 0))  # noqa: S104 - all of 127.0.0.0/8
        listener.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)  # noqa: FBT003 - no other way to say it
            caller.connect_ex(("127.0.0.1", listener.getsockname()[1]))
        yield int(listener.getsockname()[1])


def test_neither_slow_sources_nor_dead_addresses_stop_a_worker(
    site: Callable[..., Site], server: BadServer, dead_port: int, tmp_path: Path
) -> None:
    # Given as many sources that crawl as there are downloaders, and a name all of whose addresses are dead
    (tmp_path / "sitecustomize.py").write_text(MANY_ADDRESSES)
    one = site(tmp_path, downloaders=3)
    slow = {f"slow-{number}": server.url(f"drip/3000/{number}") for number in range(3)}
    bad = slow | {"dead": f"http://many.test:{dead_port}/a.mp3"}
    good = good_jobs(server, "good", 10)
    with Watch(one.worker) as watch:
        # When good jobs come behind them
        one.send([json.dumps({"source": source, "job_id": job}) for job, source in bad.items()])
        seconds = timed(one, list(good), lambda: one.send(list(good.values())))
        eventually(lambda: "cannot be reached" in one.worker.log.read_text(), PATIENCE, pause=0.5)
        code = one.worker.stop()
    # Then they are done, and the worker lives
    print(f"{seconds:.1f} s; {watch}")
    assert {one.results()[job]["status"] for job in good} == {"succeeded"}
    assert seconds < DELAY_SECONDS
    assert watch.not_live == []
    assert watch.looks > 0
    # And of the others none is lost: it was given back, or set aside at its last receive
    assert code == ExitCode.DONE
    both = (one.queue.url, one.queue.dead_letter_url)
    assert sum(one.aws.count(url).total for url in both) == len(bad)
