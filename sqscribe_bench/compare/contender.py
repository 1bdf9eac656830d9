# SPDX-License-Identifier: Apache-2.0
"""Who is compared: each takes a task and comes back with a run."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sqscribe_bench.lab.meter import Meter
from sqscribe_bench.lab.nvml import NvmlSampler
from sqscribe_bench.lab.program import Program, environment
from sqscribe_bench.lab.run import BenchError, Conditions, Run, Task
from sqscribe_bench.lab.site import Site, source
from sqscribe_bench.lab.trace import TRACE_VARIABLE, Trace, read_trace
from sqscribe_bench.lab.workload import WARM_UP

__all__ = ["Contender", "Loop", "Sqscribe", "count_words", "loop_order", "loop_program", "threads_of"]

#: Longest that loading a model and transcribing one short recording may take.
START_SECONDS = 900.0
#: A loop renews no lease, so its messages stay hidden as long as SQS lets them.
_HIDDEN_SECONDS = 43_200
_LEASE_SECONDS = 300
_LOOK_SECONDS = 0.2
_ASK_SECONDS = 5.0


class Contender(Protocol):
    """One way to transcribe a workload."""

    @property
    def name(self) -> str:
        """What the table calls it; unique."""

    def setting(self, conditions: Conditions) -> str:
        """Its processes, threads and batch size, for people."""

    @property
    def word_times(self) -> bool:
        """Whether it can be asked for them."""

    def run(self, task: Task, site: Site, conditions: Conditions, timeout: float) -> Run:
        """Does the task, from a cold start to a warm one to its end.

        Raises:
            BenchError: It cannot, or not in time.
        """


@dataclass(frozen=True, slots=True)
class Sqscribe:
    """The real worker, as a program, with its default settings.

    Attributes:
        settings: Environment variables beside those that the task needs.
        workers: On the one queue.
        on_trace: Takes the trace of every run, if there is to be one.
        watch: Looks at the GPU meanwhile, if there is one: a batch under way does not say that kernels run.
    """

    settings: Mapping[str, str]
    name: str = "sqscribe"
    workers: int = 1
    on_trace: Callable[[Trace, Run], None] | None = None
    watch: Callable[[], AbstractContextManager[NvmlSampler]] | None = None
    word_times: bool = True

    def setting(self, conditions: Conditions) -> str:  # noqa: ARG002 - the same for all
        """Whatever differs from the defaults."""
        return ", ".join(f"{name}={value}" for name, value in self.settings.items()) or "defaults"

    def run(self, task: Task, site: Site, conditions: Conditions, timeout: float) -> Run:
        """See `Contender`."""
        name = site.name()
        queue_url = site.queue(name, _LEASE_SECONDS)
        settings = {
            "SQSCRIBE_QUEUE_URL": queue_url,
            "SQSCRIBE_OUTPUT": site.output(name),
            "SQSCRIBE_MODEL": conditions.model if conditions.model == "demo" else conditions.folder,
            "SQSCRIBE_DEVICE": conditions.device,
            "SQSCRIBE_COMPUTE_TYPE": conditions.compute_type,
            "SQSCRIBE_LOG_FORMAT": "json",
            **self.settings,
        }
        if self.on_trace:
            settings.setdefault(TRACE_VARIABLE, str(site.folder / f"{name}-trace.jsonl"))
        with ExitStack() as stack:
            ports = [_free_port() for _ in range(self.workers)]
            programs = [
                stack.enter_context(_worker(site, f"{name}-{self.name}-{port}", settings, port)) for port in ports
            ]
            for program, port in zip(programs, ports, strict=True):
                _wait_until_ready(program, port)
            site.send_warm_up(queue_url, task.words, conditions.beam_size, conditions.language)
            site.wait_until_empty(queue_url, _checks(programs), START_SECONDS)
            size = _batch_size(ports[0])
            before = _metrics(ports)
            sampler = stack.enter_context(self.watch()) if self.watch else None
            run = _through_queue(self.name, task, site, conditions, name, queue_url, programs, timeout)
            counted = {key: value - before[key] for key, value in _metrics(ports).items()}
        run = replace(run, windows=int(counted["windows"]), notes=_per_job(counted, run.jobs) | size)
        if self.on_trace:
            traced = read_trace(Path(settings[TRACE_VARIABLE]), run.began, run.began + run.seconds)
            if sampler:
                looks = sampler.seen(run.began, run.began + run.seconds)
                traced = replace(traced, looks=[(moment - run.began, share) for moment, share in looks])
            run = replace(run, notes={**run.notes, **traced.figures(run.audio_seconds)})
            self.on_trace(traced, run)
        return run


def loop_program(order: Mapping[str, Any], site: Site, name: str) -> Program:
    """Starts the loop's program."""
    arguments = ["-m", "sqscribe_bench.programs.loop", json.dumps(order)]
    return Program(arguments, site.aws.child_env(environment()), site.folder / f"{name}.log")


@dataclass(frozen=True, slots=True)
class Loop:
    """faster-whisper, or a library like it, in a loop over the queue, in so many processes.

    Attributes:
        processes: At once; they share the cores.
        batch_size: Windows of a batch; None for one after another.
        start: Starts a process that follows an order.
        more: What else is worth knowing of its setting.
    """

    name: str
    processes: int = 1
    batch_size: int | None = None
    start: Callable[[Mapping[str, Any], Site, str], Program] = loop_program
    more: str = ""
    word_times: bool = True

    def setting(self, conditions: Conditions) -> str:
        """What there is to set."""
        batch = "one by one" if self.batch_size is None else f"batch {self.batch_size}"
        threads = threads_of(self.processes, max(1, conditions.cores // self.processes), conditions)
        return ", ".join(filter(None, [batch, threads, self.more]))

    def run(self, task: Task, site: Site, conditions: Conditions, timeout: float) -> Run:
        """See `Contender`."""
        name = site.name()
        queue_url = site.queue(name, _HIDDEN_SECONDS)
        order = loop_order(conditions, max(1, conditions.cores // self.processes)) | {
            "queue_url": queue_url,
            "output": site.output(name),
            "warm_up": source(WARM_UP),
            "batch_size": self.batch_size,
        }
        with ExitStack() as stack:
            programs = [
                stack.enter_context(self.start(order, site, f"{name}-{self.name}-{number}"))
                for number in range(self.processes)
            ]
            deadline = time.monotonic() + START_SECONDS
            for program in programs:
                program.line(max(0.0, deadline - time.monotonic()))
            run = _through_queue(self.name, task, site, conditions, name, queue_url, programs, timeout)
        transcripts = site.transcripts(name, task).values()
        tokens = [transcript["tokens"] for transcript in transcripts]
        return replace(
            run,
            windows=sum(transcript["windows"] for transcript in transcripts),
            tokens=None if None in tokens else sum(tokens),
        )


def loop_order(conditions: Conditions, threads: int) -> dict[str, Any]:
    """What every order to the loop's program says."""
    asked = asdict(conditions)
    for name in ("model", "cores", "tokens"):
        del asked[name]
    return asked | {"threads": threads}


def _worker(site: Site, name: str, settings: Mapping[str, str], port: int) -> Program:
    env = {**site.aws.child_env(environment()), **settings, "SQSCRIBE_HTTP_PORT": str(port)}
    return Program(["-m", "sqscribe", "worker"], env, site.folder / f"{name}.log", lines=False)


def threads_of(processes: int, threads: int, conditions: Conditions) -> str:
    """Processes and the threads of each, which only a CPU's engine has."""
    if conditions.device == "cpu":
        return f"{processes} x {threads} thread{'s' if threads > 1 else ''}"
    return f"{processes} process{'es' if processes > 1 else ''}"


def count_words(text: str) -> int:
    """Words of a text."""
    return len(text.split())


def _through_queue(
    contender: str,
    task: Task,
    site: Site,
    conditions: Conditions,
    name: str,
    queue_url: str,
    programs: Sequence[Program],
    timeout: float,
) -> Run:
    """Sends the task's messages to contenders that are warm, and measures until all are deleted."""
    site.upload(task.workload.recordings)
    meter = Meter([program.pid for program in programs])
    with meter.running():
        begun = time.monotonic()
        site.send(queue_url, task, conditions.beam_size, conditions.language)
        site.wait_until_empty(queue_url, _checks(programs), timeout)
        seconds = time.monotonic() - begun
    transcripts = site.transcripts(name, task).values()
    return Run(
        contender=contender,
        workload=task.workload.name,
        words=task.words,
        round=task.round,
        seconds=seconds,
        began=begun,
        audio_seconds=task.workload.seconds,
        jobs=len(task.workload.recordings),
        usage=meter.usage,
        text_words=sum(count_words(transcript["text"]) for transcript in transcripts),
    )


def _checks(programs: Sequence[Program]) -> Callable[[], None]:
    def check() -> None:
        for program in programs:
            program.check()

    return check


def _wait_until_ready(program: Program, port: int) -> None:
    deadline, pause = time.monotonic() + START_SECONDS, threading.Event()
    while not _answers(port, "/ready"):
        program.check()
        if time.monotonic() > deadline:
            raise BenchError(f"the worker was not ready after {START_SECONDS:g} s")
        pause.wait(_LOOK_SECONDS)


def _answers(port: int, page: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=_ASK_SECONDS):
            return True
    except OSError:  # not yet listening, or 503
        return False


def _batch_size(port: int) -> dict[str, float | str]:
    """What the worker has chosen; nothing from an engine that does not say."""
    engine = json.loads(_page(port, "/status")).get("engine") or {}
    return {"batch_size": engine["batch_size"]} if "batch_size" in engine else {}


def _metrics(ports: Sequence[int]) -> dict[str, float]:
    """What the workers count together: windows, batches, seconds in which the device was busy, calls."""
    page = "\n".join(_page(port, "/metrics") for port in ports)
    series = {
        "windows": r"sqscribe_batch_windows_sum",
        "batches": r"sqscribe_batch_windows_count",
        "busy_seconds": r"sqscribe_inference_busy_seconds_total",
        "queue_calls": r"sqscribe_queue_calls_total\{.*\}",
        "store_calls": r"sqscribe_store_calls_total\{.*\}",
        "retries": r"sqscribe_window_retries_total\{.*\}",
    }
    return {name: sum(_values(pattern, page)) for name, pattern in series.items()}


def _page(port: int, page: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=_ASK_SECONDS) as answer:
        return str(answer.read().decode())


def _values(pattern: str, page: str) -> Iterator[float]:
    for found in re.finditer(rf"^{pattern} (\S+)$", page, re.MULTILINE):
        yield float(found[1])


def _per_job(counted: Mapping[str, float], jobs: int) -> dict[str, float | str]:
    return {
        "batch_windows": counted["windows"] / max(1.0, counted["batches"]),
        "busy_seconds": counted["busy_seconds"],
        "retries": counted["retries"],
        "queue_calls_per_job": counted["queue_calls"] / jobs,
        "store_calls_per_job": counted["store_calls"] / jobs,
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
