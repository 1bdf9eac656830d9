# SPDX-License-Identifier: Apache-2.0
"""Carries out steps, most important first, in the time that there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from sqscribe.errors import ExitCode
from sqscribe_bench.gpu.bounded import GRACE_SECONDS, run_bounded
from sqscribe_bench.gpu.step import Ended, Outcome, Step
from sqscribe_bench.lab.lines import LineFile, read_lines

__all__ = ["Budget"]

#: Of a step's output, how much is kept beside its name.
_TAIL = 600

#: Runs a program: its arguments, its log, its seconds; see `run_bounded`.
Run = Callable[[Sequence[str], Path, float], int | None]


class Budget:
    """Runs steps one after another, and writes each down as it ends.

    Args:
        seconds: For all steps together. Each ends within it, the time that a program takes to be ended included.
        log: File for what the steps print; what was in it is gone.
        kept: Gets a line for each step.
        tell: Told what happens, line by line.
        run: Runs a program.
        clock: Seconds, ever growing.
    """

    def __init__(
        self,
        seconds: float,
        log: Path,
        kept: LineFile,
        tell: Callable[[str], None],
        run: Run = run_bounded,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._deadline = clock() + seconds
        self._log = log
        log.write_bytes(b"")
        self._kept = kept
        self._tell = tell
        self._run = run

    def carry_out(self, steps: Sequence[Step]) -> Iterator[Ended]:
        """Runs what there is time for; what there is none for is skipped, and shorter steps behind it may yet run."""
        unfit = ""
        for step in steps:
            left = self._deadline - self._clock() - GRACE_SECONDS
            why = unfit or step.missing or ""
            if not why and left < step.least:
                why = f"needs {step.least:.0f} s, {max(0.0, left):.0f} s were left"
            ended = Ended(step.name, step.tells, Outcome.SKIPPED, why) if why else self._carried_out(step, left)
            if step.vital and ended.code == ExitCode.UNFIT_NODE:
                unfit = f"{step.name} failed: nothing measured here would mean anything"
            self._kept.add(asdict(ended))
            self._tell(f"{ended.name}: {ended.outcome}, {ended.seconds:.0f} s{f' ({ended.why})' if ended.why else ''}")
            yield ended

    def _carried_out(self, step: Step, left: float) -> Ended:
        limit = min(step.limit, left)
        self._tell(f"{step.name}: {step.tells}, {limit:.0f} s at most")
        before = self._log.stat().st_size
        began = self._clock()
        code = self._run(step.arguments, self._log, limit)
        seconds = self._clock() - began
        said = self._log.read_bytes()[before:].decode("utf-8", "replace").strip()[-_TAIL:]
        outcome, why = Outcome.DONE, ""
        if code is None:
            outcome, why = Outcome.CUT, f"{limit:.0f} s were over"
        elif code != ExitCode.DONE:
            outcome, why = Outcome.FAILED, f"exit code {code}: {said}"
        return Ended(
            name=step.name,
            tells=step.tells,
            outcome=outcome,
            why=why,
            seconds=seconds,
            found=read_lines(step.lines) if step.lines else [],
            code=code,
            said=said.splitlines()[-1] if said else "",
        )
