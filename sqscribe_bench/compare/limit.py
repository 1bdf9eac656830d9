# SPDX-License-Identifier: Apache-2.0
"""The engine alone as a contender: a speed that no pipeline around it can exceed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqscribe_bench.compare.contender import START_SECONDS, threads_of
from sqscribe_bench.lab.meter import Meter
from sqscribe_bench.lab.program import Program, environment
from sqscribe_bench.lab.run import BenchRun, BenchTask, Conditions
from sqscribe_bench.lab.site import BenchSite
from sqscribe_bench.lab.workload import Recording

__all__ = ["LimitContender"]


@dataclass(frozen=True, slots=True)
class LimitContender:
    """Gives sqscribe's own engine windows that were prepared before the clock starts.

    Attributes:
        batch_size: Windows of a batch; None: the size that the worker would choose.
    """

    batch_size: int | None = None
    name: str = "limit"
    word_times: bool = True

    def setting(self, conditions: Conditions) -> str:
        """Its batch size and threads."""
        size = [f"batch {self.batch_size}"] if self.batch_size else []
        return ", ".join([*size, threads_of(1, conditions.cores, conditions)])

    def run(self, task: BenchTask, site: BenchSite, conditions: Conditions, timeout: float) -> BenchRun:
        """See `sqscribe_bench.compare.contender.Contender`."""
        settings = limit_settings(conditions, task.workload.recordings, site) | {"batch_size": self.batch_size}
        with limit_program(settings, site, f"{site.name()}-limit") as program:
            # All is decoded and cut first, which takes as long as it takes.
            program.line(START_SECONDS + timeout)
            meter = Meter([program.pid])
            with meter.running():
                program.tell("go")
                said = json.loads(program.line(timeout))
            program.tell("end")
        return BenchRun(
            contender=self.name,
            workload=task.workload.name,
            words=task.words,
            round=task.round,
            seconds=said["seconds"],
            audio_seconds=task.workload.seconds,
            jobs=len(task.workload.recordings),
            usage=meter.usage,
            text_words=said["text_words"],
            windows=said["windows"],
            notes={name: said[name] for name in ("batch_size", "batch_windows", "parallel")},
        )


def limit_settings(conditions: Conditions, recordings: Sequence[Recording], site: BenchSite) -> dict[str, Any]:
    """The settings that every run of the program has in common."""
    return {
        "folder": conditions.folder,
        "device": conditions.device,
        "compute_type": conditions.compute_type,
        "cores": conditions.cores,
        "beam_size": conditions.beam_size,
        "language": conditions.language,
        "recordings": [str(site.path(recording)) for recording in recordings],
    }


def limit_program(settings: dict[str, Any], site: BenchSite, name: str) -> Program:
    """Starts `sqscribe_bench.programs.limit`."""
    return Program(
        ["-m", "sqscribe_bench.programs.limit", json.dumps(settings)], environment(), site.folder / f"{name}.log"
    )
