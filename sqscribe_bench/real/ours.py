# SPDX-License-Identifier: Apache-2.0
"""sqscribe through its whole pipeline: many jobs with their own options in one run of the worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sqscribe.job import Job, JobDefaults
from sqscribe.job_message import parse_job
from sqscribe.logs import configure
from sqscribe_bench.real.contender import ModelSetup, RecordingTask
from sqscribe_bench.real.heard import Heard
from worker.local import OUTPUT, LocalRun
from worker.settings import read_settings

__all__ = ["Sqscribe"]


class Sqscribe:
    """What `sqscribe transcribe` does, for jobs whose options differ.

    Nothing is kept from one call to the next: it is what is being worked on.
    """

    def __init__(self, engine: ModelSetup) -> None:
        self._engine = engine

    def hear(self, tasks: Sequence[RecordingTask]) -> list[Heard]:
        """One transcript a task; all of them go through one run of the worker, in batches across jobs."""
        settings = read_settings(
            model=self._engine.model,
            device=self._engine.device,
            compute_type=self._engine.compute_type,
            batch_size=str(self._engine.batch_size),
            http_port=0,
            log_level="error",
        )
        configure(settings.log_format, settings.log_level)
        jobs = [_job(f"{number:05}", task) for number, task in enumerate(tasks)]
        with TemporaryDirectory(prefix="sqscribe-real-") as folder:
            run = LocalRun(jobs, settings, Path(folder))
            run.run(lambda _status, _done: None)
            return [_heard(run, job) for job in jobs]


def _job(name: str, task: RecordingTask) -> Job:
    fields = {"word_timestamps": task.timed, **task.options, "job_id": name, "source": f"s3://local/{name}"}
    return replace(parse_job(fields, JobDefaults(OUTPUT)), source=str(task.path.absolute()))


def _heard(run: LocalRun, job: Job) -> Heard:
    result = run.result(job.job_id)
    if result is None or not result.succeeded:
        error = result.error if result else None
        return Heard(None, (), error=f"{error.code}: {error.message}" if error else "interrupted")
    master = next(artifact for artifact in result.artifacts if artifact.format == "json")
    return Heard.from_json(json.loads(run.artifact(master.key)), [asdict(each) for each in result.warnings])
