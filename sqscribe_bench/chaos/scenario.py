# SPDX-License-Identifier: Apache-2.0
"""One run: starts everything, sends messages while faults happen, and waits until the queues are empty."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3

from sqscribe.job import JobDefaults
from sqscribe_bench.chaos.nemesis import Disk, Nemesis, ProcessFault
from sqscribe_bench.chaos.plan import REAL, SIMULATED, MessagePlan, Mix, PlannedMessage
from sqscribe_bench.chaos.reference import COMPUTE_TYPE
from sqscribe_bench.chaos.workers import Exit, Worker
from worker.embedded.aws import CREDENTIALS, REGION, EmbeddedAws, EmbeddedQueue
from worker.embedded.program import worker_environment
from worker.receive.messages import MessageParser
from worker.testing.faults import FaultProxy

__all__ = ["Course", "Options", "Outcome", "run"]

SOURCES, OUTPUT = "chaos-sources", "chaos-results"
PREFIX = f"s3://{OUTPUT}/v1"

VISIBILITY_SECONDS = 8
CHECKPOINT_SECONDS = 3
#: As SQS has it by default: a message received so often has not just been unlucky.
MAX_RECEIVES = 10
GRACE_SECONDS = 25.0
#: Scratch of the worker with the small disk: the largest job just fits.
SMALL_DISK_BYTES = 48 << 20

_FORMATS = "json,srt"
_LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is to be like.

    Attributes:
        seed: Of everything that is random.
        jobs: About how many.
        long_seconds: The shortest and the longest of the long recordings.
        course: Share of the time after the preparations in which messages are sent and faults happen.
        seconds: How long everything together may take.
        faults: How many faults of processes there are, at least.
        simulated: How many workers have the simulated engine.
        window_seconds: How long that engine takes for a window.
        rate: Share of calls that fail.
    """

    seed: int
    jobs: int
    long_seconds: tuple[float, float]
    course: float
    seconds: float
    faults: int
    simulated: int
    window_seconds: float
    rate: float = 0.03


@dataclass(frozen=True, slots=True)
class Course:
    """How far the run has come, for whoever watches."""

    seconds: float
    sent: int
    messages: int
    left: int
    faults: int
    ready: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that the verdict needs to know of a run."""

    plan: MessagePlan
    objects: Mapping[str, bytes]
    dead_letters: Sequence[Mapping[str, Any]]
    left: int
    decoded: Counter[tuple[str, int]]
    exits: Sequence[Exit]
    faults: Counter[ProcessFault]
    disk: bool
    access_log: Path
    dead_letter_queues: tuple[str, ...]
    seconds: float


def run(options: Options, folder: Path, watch: Callable[[Course], None], say: Callable[[str], None]) -> Outcome:
    """Runs the scenario.

    Args:
        options: What is asked for.
        folder: For logs; must be there and empty.
        watch: Told of the course, now and then.
        say: Told what is being prepared.
    """
    begun = time.monotonic()
    rng = random.Random(options.seed)
    with ExitStack() as stack:
        aws = stack.enter_context(EmbeddedAws())
        proxy = stack.enter_context(
            FaultProxy(aws.url, folder / "access.jsonl", seed=options.seed, rate=options.rate, truncated=options.rate)
        )
        queues = {
            line: aws.make_queue(line, max_receives=MAX_RECEIVES, visibility_timeout=VISIBILITY_SECONDS)
            for line in (SIMULATED, REAL)
        }
        for bucket in (SOURCES, OUTPUT):
            aws.make_bucket(bucket)
        disk = stack.enter_context(Disk.mounted(folder / "disk", SMALL_DISK_BYTES * 5 // 4))
        workers = _workers(options, aws, proxy, queues, folder, disk)
        with _tended(workers):
            # The workers come up meanwhile.
            say(f"{len(workers)} workers; preparing recordings, and the texts that must come of them")
            plan = _plan(aws, proxy, rng)
            planned = plan.plan(Mix.of(options.jobs, long_seconds=options.long_seconds))
            course = options.course * (begun + options.seconds - time.monotonic())
            nemesis = Nemesis(
                workers,
                disk,
                random.Random(options.seed + 1),
                log=folder / "faults.log",
                faults=options.faults,
                seconds=course,
                freeze=(VISIBILITY_SECONDS + 1.0, VISIBILITY_SECONDS + 6.0),
            )
            nemesis.start()
            try:
                _feed_and_drain(options, begun, course, plan, planned, aws, queues, workers, nemesis, watch)
            finally:
                nemesis.stop()
        return Outcome(
            plan=plan,
            objects=_objects(aws),
            dead_letters=[letter for queue in queues.values() for letter in aws.dead_letters(queue)],
            left=sum(aws.count(queue.url).total for queue in queues.values()),
            decoded=_decoded(folder),
            exits=[each for one in workers for each in one.exits],
            faults=nemesis.faults,
            disk=disk is not None,
            access_log=proxy.log,
            dead_letter_queues=tuple(queue.dead_letter_url.rpartition("/")[2] for queue in queues.values()),
            seconds=time.monotonic() - begun,
        )


def _plan(aws: EmbeddedAws, proxy: FaultProxy, rng: random.Random) -> MessagePlan:
    session: Any = boto3.session.Session()  # an overload for each service that there is
    client = session.client("s3", endpoint_url=proxy.url, region_name=REGION, **CREDENTIALS)

    def upload(key: str, body: bytes) -> str:
        return aws.s3.put_object(Bucket=SOURCES, Key=key, Body=body)["ETag"]

    def link(key: str) -> str:
        place = {"Bucket": SOURCES, "Key": key}
        return str(client.generate_presigned_url("get_object", Params=place, ExpiresIn=36_000))

    return MessagePlan(rng, SOURCES, upload, link, MessageParser(JobDefaults(PREFIX, tuple(_FORMATS.split(",")))))


def _workers(
    options: Options,
    aws: EmbeddedAws,
    proxy: FaultProxy,
    queues: Mapping[str, EmbeddedQueue],
    folder: Path,
    disk: Disk | None,
) -> list[Worker]:
    """Makes a worker with the real engine, and others with the simulated one, of which the last has a small disk."""
    common: dict[str, object] = {
        "output": PREFIX,
        "formats": _FORMATS,
        "visibility_timeout": VISIBILITY_SECONDS,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "shutdown_grace": GRACE_SECONDS,
        "allow_private_sources": "true",
        "downloaders": 2,
        "http_port": 0,
        "log_format": "json",
    }

    def make(name: str, line: str, **own: object) -> Worker:
        scratch = folder / "scratch" / name
        scratch.mkdir(parents=True, exist_ok=True)
        url = queues[line].url.replace(aws.url, proxy.url)
        settings = {**common, "queue_url": url, "scratch_dir": scratch, **own}
        env = worker_environment(aws, settings, AWS_ENDPOINT_URL=proxy.url, OMP_NUM_THREADS="1")
        return Worker(name, env, folder)

    real = {"model": "demo", "device": "cpu", "compute_type": COMPUTE_TYPE, "cpu_threads": 1}
    simulation = {"window_seconds": options.window_seconds, "parallel": 2, "log": folder / "decoded.log"}
    # Windows are simulated one at a time: what a death costs is counted in them, and a batch of four takes as long.
    simulated = {"model": f"simulated:{urlencode(simulation)}", "batch_size": 1}
    small: dict[str, object] = {"scratch_bytes": SMALL_DISK_BYTES}
    if disk is not None:
        small["scratch_dir"] = disk.path
    workers = [make("real", REAL, **real)]
    for number in range(1, options.simulated + 1):
        own = small if number == options.simulated else {}
        workers.append(make(f"sim{number}", SIMULATED, **simulated, **own))
    return workers


@contextmanager
def _tended(workers: Sequence[Worker]) -> Iterator[None]:
    """Keeps the workers running, starting each again that ends; in the end asks all of them to stop."""
    stopping = threading.Event()

    def tend() -> None:
        while not stopping.is_set():
            for each in workers:
                each.look_after()
            stopping.wait(_LOOK_SECONDS)

    thread = threading.Thread(target=tend, name="tender", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        closers = [threading.Thread(target=each.close, args=(GRACE_SECONDS + 15.0,)) for each in workers]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()


def _feed_and_drain(
    options: Options,
    begun: float,
    course: float,
    plan: MessagePlan,
    planned: Sequence[PlannedMessage],
    aws: EmbeddedAws,
    queues: Mapping[str, EmbeddedQueue],
    workers: Sequence[Worker],
    nemesis: Nemesis,
    watch: Callable[[Course], None],
) -> None:
    """Sends the messages over the course, and waits until the queues are empty or time is up."""
    opened = time.monotonic()
    sent, struck, pause = 0, False, threading.Event()
    while True:
        now = time.monotonic()
        # A quarter at once, so that every worker has its hands full from the beginning.
        share = 0.25 + (now - opened) / course
        while sent < len(planned) and sent < share * len(planned):
            _send(aws, queues, plan, planned[sent])
            sent += 1
        struck = struck or (nemesis.struck >= options.faults and sent == len(planned))
        if struck:
            nemesis.stop()
        left = sum(aws.count(queue.url).total for queue in queues.values())
        ready = sum(each.ready for each in workers)
        watch(Course(now - begun, sent, len(planned), left, nemesis.struck, ready))
        if (struck and sent == len(planned) and not left) or now - begun > options.seconds:
            return
        pause.wait(1.0)


def _send(aws: EmbeddedAws, queues: Mapping[str, EmbeddedQueue], plan: MessagePlan, message: PlannedMessage) -> None:
    answer = aws.sqs.send_message(QueueUrl=queues[message.line].url, MessageBody=message.body)
    plan.sent(message, answer["MessageId"])


def _objects(aws: EmbeddedAws) -> dict[str, bytes]:
    """Reads every object of the results, by `bucket/key`."""
    return {
        f"{OUTPUT}/{entry['Key']}": aws.s3.get_object(Bucket=OUTPUT, Key=entry["Key"])["Body"].read()
        for page in aws.s3.get_paginator("list_objects_v2").paginate(Bucket=OUTPUT)
        for entry in page.get("Contents", ())
    }


def _decoded(folder: Path) -> Counter[tuple[str, int]]:
    """How often each window of each job was decoded by a simulated engine."""
    log = folder / "decoded.log"
    counts: Counter[tuple[str, int]] = Counter()
    for line in log.read_text("utf-8").splitlines() if log.exists() else ():
        key, _, index = line.partition("\t")
        counts[key.partition("-")[2], int(index)] += 1
    return counts
