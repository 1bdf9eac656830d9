# SPDX-License-Identifier: Apache-2.0
"""The metrics' public names and labels, and that each method moves its own."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from sqscribe.errors import ErrorCode
from stages.inference.protocol import EngineStats
from worker.leases import RenewalOutcome
from worker.outcomes import JobOutcome, Stage
from worker.telemetry.metrics import Metrics
from worker.testing.decoder import simulated_info

#: As `docs/reference.md` has it: name, kind, labels.
PUBLIC = {
    ("sqscribe_jobs", "counter", ("outcome",)),
    ("sqscribe_job_errors", "counter", ("code",)),
    ("sqscribe_audio_seconds", "counter", ()),
    ("sqscribe_stage_seconds", "histogram", ("stage",)),
    ("sqscribe_stage_jobs", "gauge", ("stage",)),
    ("sqscribe_inference_busy_seconds", "counter", ()),
    ("sqscribe_batch_windows", "histogram", ()),
    ("sqscribe_window_retries", "counter", ("reason",)),
    ("sqscribe_buffered_audio_seconds", "gauge", ()),
    ("sqscribe_stage_cpu_seconds", "counter", ("stage",)),
    ("sqscribe_leases", "gauge", ()),
    ("sqscribe_lease_renewals", "counter", ("outcome",)),
    ("sqscribe_leases_lost", "counter", ()),
    ("sqscribe_queue_calls", "counter", ("operation",)),
    ("sqscribe_store_calls", "counter", ("operation",)),
    ("sqscribe_engine_restarts", "counter", ()),
    (
        "sqscribe_engine_info",
        "gauge",
        ("batch_size", "compute_type", "cuda", "device", "driver", "model", "revision"),
    ),
}


def everything_once() -> Metrics:
    metrics = Metrics()
    metrics.watch(stage_jobs=dict.fromkeys(Stage, 2).__getitem__, buffered_audio_seconds=lambda: 12.5, leases=lambda: 7)
    metrics.job_ended(JobOutcome.SUCCEEDED, audio_seconds=60.5)
    metrics.job_error(ErrorCode.MEDIA_UNREADABLE)
    metrics.stage_ended(Stage.FETCH, 3, cpu=0.25)
    metrics.batch_ended(EngineStats(4, 90.0, 1.5, began=7.0, ended=9.0, kind="decode", retries=(("logprob", 2),)))
    metrics.leases_renewed(RenewalOutcome.RENEWED, 10)
    metrics.lease_lost()
    metrics.queue_called("ReceiveMessage")
    metrics.store_called("PutObject")
    metrics.engine_restarted()
    metrics.engine_ready(simulated_info())
    return metrics


def test_the_page_has_the_public_names_and_labels_and_no_others_of_ours() -> None:
    kind, page = everything_once().render()

    families = [
        family for family in text_string_to_metric_families(page.decode()) if family.name.startswith("sqscribe_")
    ]

    assert kind.startswith("text/plain")
    assert {
        (
            family.name,
            family.type,
            tuple(sorted({label for sample in family.samples for label in sample.labels} - {"le"})),
        )
        for family in families
    } == PUBLIC
    assert not [sample.name for family in families for sample in family.samples if sample.name.endswith("_created")]


def test_each_method_moves_its_own_series() -> None:
    registry = everything_once().registry

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"sqscribe_{name}", labels)

    assert value("jobs_total", outcome="succeeded") == 1
    assert value("audio_seconds_total") == 60.5
    assert value("job_errors_total", code="media_unreadable") == 1
    assert value("stage_seconds_count", stage="fetch") == 1
    assert value("stage_seconds_sum", stage="fetch") == 3
    assert value("stage_cpu_seconds_total", stage="fetch") == 0.25
    assert value("stage_seconds_bucket", stage="fetch", le="5.0") == 1
    assert value("stage_seconds_bucket", stage="fetch", le="2.5") == 0
    assert value("inference_busy_seconds_total") == 1.5
    assert value("batch_windows_sum") == 4
    assert value("window_retries_total", reason="logprob") == 2
    assert value("lease_renewals_total", outcome="renewed") == 10
    assert value("leases_lost_total") == 1
    assert value("queue_calls_total", operation="ReceiveMessage") == 1
    assert value("store_calls_total", operation="PutObject") == 1
    assert value("engine_restarts_total") == 1
    told = {"model": "simulated", "revision": "simulated", "device": "simulated", "compute_type": "float32"}
    assert value("engine_info", **told, batch_size="4", driver="", cuda="") == 1


def test_gauges_ask_their_owner_each_time() -> None:
    held = [1, 2, 3]
    metrics = Metrics()
    metrics.watch(
        stage_jobs=lambda stage: len(held) if stage is Stage.FETCH else 0,
        buffered_audio_seconds=lambda: sum(held),
        leases=lambda: len(held),
    )

    before = metrics.registry.get_sample_value("sqscribe_leases")
    held.pop()

    assert before == 3
    assert metrics.registry.get_sample_value("sqscribe_leases") == 2
    assert metrics.registry.get_sample_value("sqscribe_buffered_audio_seconds") == 3
    assert metrics.registry.get_sample_value("sqscribe_stage_jobs", {"stage": "fetch"}) == 2
    assert metrics.registry.get_sample_value("sqscribe_stage_jobs", {"stage": "wait"}) == 0


def test_series_stand_at_zero_before_anything_happened() -> None:
    registry = Metrics().registry

    assert registry.get_sample_value("sqscribe_jobs_total", {"outcome": "failed"}) == 0
    assert registry.get_sample_value("sqscribe_job_errors_total", {"code": "bad_message"}) == 0
    assert registry.get_sample_value("sqscribe_lease_renewals_total", {"outcome": "refused"}) == 0


def test_two_workers_in_one_process_do_not_share_counts() -> None:
    one, other = Metrics(), Metrics()

    one.lease_lost()

    assert other.registry.get_sample_value("sqscribe_leases_lost_total") == 0
