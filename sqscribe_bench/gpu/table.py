# SPDX-License-Identifier: Apache-2.0
"""The one table of all steps: a row for each figure, and one for each step that has none, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from sqscribe_bench.compare.figures import figures
from sqscribe_bench.engine.figures import EngineFigure, engine_figures, host_share, window_memory
from sqscribe_bench.engine.sweep import EnginePoint, EngineRun, EngineSetup, Loaded
from sqscribe_bench.gpu.plan import COMPARE_STEPS
from sqscribe_bench.gpu.step import Ended
from sqscribe_bench.lab.machine import Machine
from sqscribe_bench.lab.run import BenchRun, Usage
from sqscribe_bench.programs.same_texts import ALLOWED, Texts

__all__ = ["gpu_table", "rows"]

_MIB = 2**20
_CAPTION = (
    "hours/h: hours of audio an hour. busy: share of the time in which the device computed; of a CPU: with a batch "
    "under way. encode, generate, align: seconds of a batch in such calls, waiting for the other batch in flight "
    "included. CPU s: of the host, a batch. memory: the most in use, less what was before the model was loaded."
)


def gpu_table(machine: Machine, ended: Sequence[Ended]) -> Table:
    """One row for each figure."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    title = (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB, "
        f"GPU: {', '.join(machine.gpus) or 'none'}; load average {machine.load} at the start\n{versions}"
    )
    table = Table(title=title, caption=_CAPTION, title_justify="left", caption_justify="left")
    for heading in ("step", "ended", "s", "what", "figures"):
        table.add_column(heading, justify="right" if heading == "s" else "left", overflow="fold")
    for each in ended:
        first = [each.name, each.outcome, f"{each.seconds:.0f}"]
        for what, figure in rows(each):
            table.add_row(*first, what, figure)
            first = ["", "", ""]
        table.add_section()
    return table


def rows(ended: Ended) -> list[tuple[str, str]]:
    """What a step found, each figure with what it is of, or else its last words; and why it did not end well, if so."""
    found = list(_found(ended))
    if ended.why:
        found.append(("why", ended.why.splitlines()[-1][:300]))
    return found or [(ended.tells, ended.said)]


def _found(ended: Ended) -> Iterator[tuple[str, str]]:
    if not ended.found:
        return
    if ended.name == "texts":
        yield from (_texts(Texts(**each)) for each in ended.found)
    elif ended.name in COMPARE_STEPS:
        yield from _compared([_bench_run(each) for each in ended.found])
    else:
        yield from _engine(engine_figures([_engine_run(each) for each in ended.found]))


def _texts(texts: Texts) -> tuple[str, str]:
    allowed = f", {ALLOWED[texts.compute_type]:.1%} allowed" if texts.compute_type in ALLOWED else ""
    errors = f"{texts.errors} of {texts.words} words differ ({texts.share:.2%}{allowed})"
    return f"{texts.model}, {texts.compute_type}", f"{texts.same} of {texts.clips} texts alike, {errors}"


def _compared(runs: Sequence[BenchRun]) -> Iterator[tuple[str, str]]:
    busy = {run.contender: run.notes.get("device_busy_share") for run in runs}
    for figure in figures(runs):
        what = f"{figure.workload}: {figure.contender}"
        if figure.failure is not None:
            yield what, f"failed: {figure.failure.splitlines()[-1][:200]}"
            continue
        ratio = (
            f", sqscribe {figure.ratio:.2f} times as fast" if figure.ratio and figure.contender != "sqscribe" else ""
        )
        share = busy[figure.contender]
        known = f", busy {float(share):.3f}" if share is not None else ""
        yield what, f"{figure.speed:.1f}x real time{ratio}{known}, {figure.cpu_per_hour:.1f} CPU s an audio hour"


def _engine(found: Sequence[EngineFigure]) -> Iterator[tuple[str, str]]:
    for figure in found:
        again = f", {figure.again:.0%} again" if figure.relapse else ""
        cores = f", {figure.loaded.cores} cores" if figure.setup.cores else ""
        setup = f"{figure.setup.model}, {figure.loaded.compute_type}, beam {figure.setup.beam_size}{cores}"
        yield f"{setup}, batch {figure.batch_size}{again}", _point(figure)
    good = [figure for figure in found if figure.failure is None and not figure.relapse]
    if not good:
        return
    memory = window_memory(good)
    if memory is not None:
        measured = f"{memory.measured / _MIB:.1f} MiB, reckoned {memory.expected / _MIB:.1f}, ratio {memory.ratio:.2f}"
        yield "memory of a window under way", f"{measured}; fixed {memory.fixed / _MIB:.0f} MiB"
    best = max(good, key=lambda each: each.windows)
    share = host_share(best)
    model, host = best.loaded.model_memory / _MIB, "?" if share is None else f"{share:.2f}"
    auto = f"{best.loaded.auto_batch_size} (automatic), {best.batch_size} was fastest; {best.loaded.parallel} in flight"
    yield "batch size", f"{auto}; model {model:.0f} MiB; {host} cores of the host while the device computes"


def _point(figure: EngineFigure) -> str:
    if figure.failure is not None:
        return figure.failure.splitlines()[-1][:200]
    busy = "?" if figure.busy is None else f"{figure.busy:.3f}"
    calls = f"encode {figure.encode:.3f}, generate {figure.generate:.3f}, align {figure.align:.3f} s"
    return (
        f"{figure.hours:.0f} hours/h, busy {busy}, {calls}, CPU {figure.cpu_per_batch:.3f} s, "
        f"memory {figure.peak_memory / _MIB:.0f} MiB, {figure.words_per_window:.0f} words a window"
    )


def _engine_run(said: Mapping[str, Any]) -> EngineRun:
    loaded = Loaded(**said["loaded"] | {"mel": {int(size): took for size, took in said["loaded"]["mel"].items()}})
    points = [EnginePoint(**each) for each in said["points"]]
    return EngineRun(EngineSetup(**said["setup"]), said["round"], loaded, points, said["failure"])


def _bench_run(said: Mapping[str, Any]) -> BenchRun:
    return BenchRun(**{**said, "usage": Usage(**said["usage"])})
