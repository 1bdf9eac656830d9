# SPDX-License-Identifier: Apache-2.0
"""The engine alone, as a contender: what no pipeline around it can surpass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqscribe_bench.compare.contender import START_SECONDS, threads_of
from sqscribe_bench.lab.meter import Meter
from sqscribe_bench.lab.program import Program, environment
from sqscribe_bench.lab.run import Conditions, Run, Task
from sqscribe_bench.lab.site import Site
from sqscribe_bench.lab.workload import Recording

__all__ = ["Limit"]


@dataclass(frozen=True, slots=True)
class Limit:
    """Drives sqscribe's own engine with windows that were all there before.

    Attributes:
        batch_size: Windows of a batch; None: what the worker would take.
    """

    batch_size: int | None = None
    name: str = "limit"
    word_times: bool = True

    def setting(self, conditions: Conditions) -> str:
        """What there is to set."""
        size = [f"batch {self.batch_size}"] if self.batch_size else []
        return ", ".join([*size, threads_of(1, conditions.cores, conditions)])

    def run(self, task: Task, site: Site, conditions: Conditions, timeout: float) -> Run:
        """See `sqscribe_bench.compare.contender.Contender`."""
        order = limit_order(conditions, task.workload.recordings, site) | {"batch_size": self.batch_size}
        with limit_program(order, site, f"{site.name()}-limit") as program:
            # All is decoded and cut first, which takes as long as it takes.
            program.line(START_SECONDS + timeout)
            meter = Meter([program.pid])
            with meter.running():
                program.tell("go")
                said = json.loads(program.line(timeout))
            program.tell("end")
        return Run(
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


def limit_order(conditions: Conditions, recordings: Sequence[Recording], site: Site) -> dict[str, Any]:
    """What every order to the program says."""
    return {
        "folder": conditions.folder,
        "device": conditions.device,
        "compute_type": conditions.compute_type,
        "cores": conditions.cores,
        "beam_size": conditions.beam_size,
        "language": conditions.language,
        "recordings": [str(site.path(recording)) for recording in recordings],
    }


def limit_program(order: dict[str, Any], site: Site, name: str) -> Program:
    """Starts the program."""
    return Program(
        ["-m", "sqscribe_bench.programs.limit", json.dumps(order)], environment(), site.folder / f"{name}.log"
    )
