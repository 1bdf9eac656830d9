# SPDX-License-Identifier: Apache-2.0
"""One run: sets everything up, lets it happen, waits for the end."""

from __future__ import annotations

import os
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

import worker
from sqscribe.job import JobDefaults
from sqscribe_bench.chaos.nemesis import Blow, Disk, Nemesis
from sqscribe_bench.chaos.plan import REAL, SIMULATED, Mix, Order, Plan
from sqscribe_bench.chaos.reference import COMPUTE_TYPE
from sqscribe_bench.chaos.workers import Exit, Worker
from worker.embedded.aws import CREDENTIALS, REGION, EmbeddedAws, EmbeddedQueue
from worker.receive.messages import MessageParser
from worker.testing.faults import FaultProxy

__all__ = ["Course", "Options", "Outcome", "run"]

SOURCES, OUTPUT = "chaos-sources", "chaos-results"
PREFIX = f"s3://{OUTPUT}/v1"

VISIBILITY_SECONDS = 8
CHECKPOINT_SECONDS = 3
#: SQS's default; a message that meets so many deaths was not unlucky.
MAX_RECEIVES = 10
GRACE_SECONDS = 25.0
#: Scratch of the worker with the small disk: the largest job just fits.
SMALL_DISK_BYTES = 48 << 20

_FORMATS = "json,srt"
_LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for.

    Attributes:
        jobs: About so many.
        long_seconds: The shortest and the longest of the long recordings.
        course: Share of the time behind the preparations in which messages are sent and blows fall.
        seconds: For everything.
        blows: To processes, at least.
        simulated: Workers with the simulated engine.
        window_seconds: That a window takes it.
        rate: Share of calls that fail.
    """

    seed: int
    jobs: int
    long_seconds: tuple[float, float]
    course: float
    seconds: float
    blows: int
    simulated: int
    window_seconds: float
    rate: float = 0.03


@dataclass(frozen=True, slots=True)
class Course:
    """What the run looks like now, for whoever watches."""

    seconds: float
    sent: int
    messages: int
    left: int
    blows: int
    ready: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that the verdict needs; the emulator still runs."""

    plan: Plan
    objects: Mapping[str, bytes]
    dead_letters: Sequence[Mapping[str, Any]]
    left: int
    decoded: Counter[tuple[str, int]]
    exits: Sequence[Exit]
    blows: Counter[Blow]
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
            say(f"{len(workers)} workers; preparing recordings, and what must be heard in them")
            plan = _plan(aws, proxy, rng)
            orders = plan.orders(Mix.of(options.jobs, long_seconds=options.long_seconds))
            course = options.course * (begun + options.seconds - time.monotonic())
            nemesis = Nemesis(
                workers,
                disk,
                random.Random(options.seed + 1),
                log=folder / "blows.log",
                blows=options.blows,
                seconds=course,
                freeze=(VISIBILITY_SECONDS + 1.0, VISIBILITY_SECONDS + 6.0),
            )
            nemesis.start()
            try:
                _feed_and_drain(options, begun, course, plan, orders, aws, queues, workers, nemesis, watch)
            finally:
                nemesis.stop()
        return Outcome(
            plan=plan,
            objects=_objects(aws),
            dead_letters=[letter for queue in queues.values() for letter in _letters(aws, queue)],
            left=sum(_count(aws, queue.url) for queue in queues.values()),
            decoded=_decoded(folder),
            exits=[each for one in workers for each in one.exits],
            blows=nemesis.blows,
            disk=disk is not None,
            access_log=proxy.log,
            dead_letter_queues=tuple(queue.dead_letter_url.rpartition("/")[2] for queue in queues.values()),
            seconds=time.monotonic() - begun,
        )


def _plan(aws: EmbeddedAws, proxy: FaultProxy, rng: random.Random) -> Plan:
    session: Any = boto3.session.Session()  # an overload for each service that there is
    client = session.client("s3", endpoint_url=proxy.url, region_name=REGION, **CREDENTIALS)

    def upload(key: str, body: bytes) -> str:
        return aws.s3.put_object(Bucket=SOURCES, Key=key, Body=body)["ETag"]

    def link(key: str) -> str:
        place = {"Bucket": SOURCES, "Key": key}
        return str(client.generate_presigned_url("get_object", Params=place, ExpiresIn=36_000))

    return Plan(rng, SOURCES, upload, link, MessageParser(JobDefaults(PREFIX, tuple(_FORMATS.split(",")))))


def _workers(
    options: Options,
    aws: EmbeddedAws,
    proxy: FaultProxy,
    queues: Mapping[str, EmbeddedQueue],
    folder: Path,
    disk: Disk | None,
) -> list[Worker]:
    """One with the real engine, the others with the simulated one; the last of them has a small disk."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SQSCRIBE_")}
    common = aws.child_env(clean) | {
        "AWS_ENDPOINT_URL": proxy.url,
        "PYTHONPATH": str(Path(worker.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "SQSCRIBE_OUTPUT": PREFIX,
        "SQSCRIBE_FORMATS": _FORMATS,
        "SQSCRIBE_VISIBILITY_TIMEOUT": str(VISIBILITY_SECONDS),
        "SQSCRIBE_CHECKPOINT_SECONDS": str(CHECKPOINT_SECONDS),
        "SQSCRIBE_SHUTDOWN_GRACE": str(GRACE_SECONDS),
        "SQSCRIBE_ALLOW_PRIVATE_SOURCES": "true",
        "SQSCRIBE_DOWNLOADERS": "2",
        "SQSCRIBE_HTTP_PORT": "0",
        "SQSCRIBE_LOG_FORMAT": "json",
    }

    def env(name: str, line: str, **own: str) -> dict[str, str]:
        scratch = folder / "scratch" / name
        scratch.mkdir(parents=True, exist_ok=True)
        url = queues[line].url.replace(aws.url, proxy.url)
        return common | {"SQSCRIBE_QUEUE_URL": url, "SQSCRIBE_SCRATCH_DIR": str(scratch)} | own

    simulated = "simulated:" + urlencode(
        {"window_seconds": options.window_seconds, "parallel": 2, "log": folder / "decoded.log"}
    )
    real = {"SQSCRIBE_MODEL": "demo", "SQSCRIBE_DEVICE": "cpu"}
    real |= {"SQSCRIBE_COMPUTE_TYPE": COMPUTE_TYPE, "SQSCRIBE_CPU_THREADS": "1"}
    small = {"SQSCRIBE_SCRATCH_BYTES": str(SMALL_DISK_BYTES)}
    if disk is not None:
        small["SQSCRIBE_SCRATCH_DIR"] = str(disk.path)
    # Windows are simulated one at a time: what a death costs is counted in them, and a batch of four takes as long.
    one = {"SQSCRIBE_MODEL": simulated, "SQSCRIBE_BATCH_SIZE": "1"}
    workers = [Worker("real", env("real", REAL, **real), folder)]
    for number in range(1, options.simulated + 1):
        own = small if number == options.simulated else {}
        name = f"sim{number}"
        workers.append(Worker(name, env(name, SIMULATED, **one, **own), folder))
    return workers


@contextmanager
def _tended(workers: Sequence[Worker]) -> Iterator[None]:
    """Starts the workers, and each again that ends; at the end all are asked to end."""
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
    plan: Plan,
    orders: Sequence[Order],
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
        while sent < len(orders) and sent < share * len(orders):
            _send(aws, queues, plan, orders[sent])
            sent += 1
        struck = struck or (nemesis.struck >= options.blows and sent == len(orders))
        if struck:
            nemesis.stop()
        left = sum(_count(aws, queue.url) for queue in queues.values())
        ready = sum(each.ready for each in workers)
        watch(Course(now - begun, sent, len(orders), left, nemesis.struck, ready))
        if (struck and sent == len(orders) and not left) or now - begun > options.seconds:
            return
        pause.wait(1.0)


def _send(aws: EmbeddedAws, queues: Mapping[str, EmbeddedQueue], plan: Plan, order: Order) -> None:
    answer = aws.sqs.send_message(QueueUrl=queues[order.line].url, MessageBody=order.body)
    plan.sent(order, answer["MessageId"])


def _count(aws: EmbeddedAws, url: str) -> int:
    """Messages in a queue, hidden ones included."""
    names: tuple[Any, ...] = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    attributes = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def _letters(aws: EmbeddedAws, queue: EmbeddedQueue) -> Iterator[Mapping[str, Any]]:
    while messages := aws.sqs.receive_message(
        QueueUrl=queue.dead_letter_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=3600
    ).get("Messages"):
        yield from messages


def _objects(aws: EmbeddedAws) -> dict[str, bytes]:
    """Every object of the results, by `bucket/key`."""
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
