# SPDX-License-Identifier: Apache-2.0
"""The worker's Prometheus metrics. Their names and labels are public: see `docs/reference.md`.

Callers report what happened through methods; the strings of names and labels are this module's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    exposition,
)

from sqscribe.errors import ErrorCode
from stages.inference.protocol import EngineInfo, EngineStats
from worker.leases.renewals import RenewalOutcome
from worker.outcomes import JobOutcome, Stage
from worker.telemetry.trace import SpanKind, TraceWriter

__all__ = ["Metrics"]


#: Seconds. From a clip that is ready at once to a ten-hour file.
_STAGE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800)

#: Windows of one batch; `auto` goes from 1 on a CPU to some dozens on a large GPU.
_BATCH_BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)


class Metrics:
    """All metrics of one worker, in a registry of their own. Thread-safe.

    Args:
        trace: Gets a span for each stage and batch as well; None: there is no trace.

    Attributes:
        registry: For programs that expose the metrics in another way.
    """

    def __init__(self, trace: TraceWriter | None = None) -> None:
        self._trace = trace
        # A time stamp beside every counter would double the page and is in nobody's contract.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._define_jobs(registry)
        self._define_inference(registry)
        self._define_leases(registry)
        self._queue_calls = Counter("sqscribe_queue_calls", "Requests to the queue.", ["operation"], registry=registry)
        self._store_calls = Counter("sqscribe_store_calls", "Requests to the store.", ["operation"], registry=registry)

    def _define_jobs(self, registry: CollectorRegistry) -> None:
        self._jobs = Counter("sqscribe_jobs", "Deliveries of jobs that ended.", ["outcome"], registry=registry)
        self._job_errors = Counter("sqscribe_job_errors", "Errors that jobs met.", ["code"], registry=registry)
        self._audio = Counter("sqscribe_audio_seconds", "Audio of jobs that succeeded.", registry=registry)
        self._stage_seconds = Histogram(
            "sqscribe_stage_seconds",
            "Time that a job spent in a stage.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._stage_cpu = Counter(
            "sqscribe_stage_cpu_seconds",
            "Time that the worker's threads computed for a stage, without child processes.",
            ["stage"],
            registry=registry,
        )
        self._stage_jobs = Gauge("sqscribe_stage_jobs", "Jobs in a stage now.", ["stage"], registry=registry)
        # Series that are at 0 from the start let rates and alarms see their first step.
        for outcome in JobOutcome:
            self._jobs.labels(outcome)
        for code in ErrorCode:
            self._job_errors.labels(code)
        for stage in Stage:
            self._stage_seconds.labels(stage)
            self._stage_cpu.labels(stage)

    def _define_inference(self, registry: CollectorRegistry) -> None:
        self._busy = Counter(
            "sqscribe_inference_busy_seconds",
            "Time in which at least one batch was on the device.",
            registry=registry,
        )
        self._batch = Histogram(
            "sqscribe_batch_windows",
            "Windows of a batch.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._window_retries = Counter(
            "sqscribe_window_retries",
            "Windows that were decoded again.",
            ["reason"],
            registry=registry,
        )
        self._buffered = Gauge(
            "sqscribe_buffered_audio_seconds",
            "Prepared audio that waits for inference.",
            registry=registry,
        )
        self._restarts = Counter("sqscribe_engine_restarts", "Inference processes started again.", registry=registry)
        self._engine = Gauge(
            "sqscribe_engine_info",
            "1, with what the engine runs.",
            ["model", "revision", "device", "compute_type", "batch_size", "driver", "cuda"],
            registry=registry,
        )

    def _define_leases(self, registry: CollectorRegistry) -> None:
        self._leases = Gauge("sqscribe_leases", "Messages held.", registry=registry)
        self._renewals = Counter(
            "sqscribe_lease_renewals",
            "Renewals of leases, one for each message.",
            ["outcome"],
            registry=registry,
        )
        self._leases_lost = Counter("sqscribe_leases_lost", "Leases that SQS refused to renew.", registry=registry)
        for renewal in RenewalOutcome:  # from 0, likewise
            self._renewals.labels(renewal)

    def watch(
        self,
        *,
        stage_jobs: Callable[[Stage], int],
        buffered_audio_seconds: Callable[[], float],
        leases: Callable[[], int],
    ) -> None:
        """Sets the functions that give what is measured when the page is asked for.

        Each is called on a thread of the HTTP server, so it must return at once.
        """
        for stage in Stage:
            self._stage_jobs.labels(stage).set_function(partial(stage_jobs, stage))
        self._buffered.set_function(buffered_audio_seconds)
        self._leases.set_function(leases)

    def job_ended(self, outcome: JobOutcome, *, audio_seconds: float = 0.0) -> None:
        """Counts a delivery that ended, and the audio that it turned into text."""
        self._jobs.labels(outcome).inc()
        self._audio.inc(audio_seconds)

    def job_error(self, code: ErrorCode) -> None:
        """Counts an error, transient ones each time that they occur."""
        self._job_errors.labels(code).inc()

    def stage_ended(self, stage: Stage, seconds: float, *, job_key: str = "", cpu: float | None = None) -> None:
        """Records that a job has left a stage just now.

        Args:
            stage: The stage.
            seconds: How long it was there.
            job_key: Its name within this worker.
            cpu: Seconds that the thread computed for it; None where several threads worked on it.
        """
        self._stage_seconds.labels(stage).observe(seconds)
        self._stage_cpu.labels(stage).inc(cpu or 0.0)
        if self._trace:
            now = time.monotonic()
            self._trace.add(SpanKind.STAGE, stage, now - seconds, now, job_key=job_key, cpu=cpu)

    def batch_ended(self, stats: EngineStats) -> None:
        """Records a batch that has ended."""
        self._batch.observe(stats.windows)
        self._busy.inc(stats.busy_seconds)
        for reason, count in stats.retries:
            self._window_retries.labels(reason).inc(count)
        if self._trace:
            self._trace.add(SpanKind.BATCH, stats.kind, stats.began, stats.ended, windows=stats.windows)

    def leases_renewed(self, outcome: RenewalOutcome, count: int = 1) -> None:
        """Counts renewals of `count` messages that the queue answered alike."""
        self._renewals.labels(outcome).inc(count)

    def lease_lost(self) -> None:
        """Counts a lease that was lost."""
        self._leases_lost.inc()

    def queue_called(self, operation: str) -> None:
        """Counts a request to the queue by its API name, as `ReceiveMessage`."""
        self._queue_calls.labels(operation).inc()

    def store_called(self, operation: str) -> None:
        """Counts a request to the store by its API name, as `PutObject`."""
        self._store_calls.labels(operation).inc()

    def engine_ready(self, info: EngineInfo) -> None:
        """Notes what the engine runs now, in place of what it ran before."""
        self._engine.clear()
        self._engine.labels(
            info.name,
            info.revision,
            info.device,
            info.compute_type,
            info.batch_size,
            info.driver or "",
            info.cuda or "",
        ).set(1)

    def engine_restarted(self) -> None:
        """Counts an inference process that was started again."""
        self._restarts.inc()

    def render(self) -> tuple[str, bytes]:
        """Gives the content type and the page, in Prometheus' text format."""
        return exposition.CONTENT_TYPE_LATEST, exposition.generate_latest(self.registry)
