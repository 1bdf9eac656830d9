# SPDX-License-Identifier: Apache-2.0
"""One benchmark from the options to the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqscribe_bench.compare.compare import Comparison, Plan
from sqscribe_bench.compare.contender import Contender
from sqscribe_bench.compare.figures import figures
from sqscribe_bench.compare.plot import plot_comparison
from sqscribe_bench.compare.report import Report, write_json
from sqscribe_bench.engine.figures import engine_figures
from sqscribe_bench.engine.plot import plot_engine
from sqscribe_bench.engine.report import EngineReport, write_engine_json
from sqscribe_bench.engine.sweep import EnginePlan, EngineSweep, engine_launcher, write_windows
from sqscribe_bench.lab.library import Library
from sqscribe_bench.lab.machine import this_machine
from sqscribe_bench.lab.model import TOKENS, is_random, model_folder
from sqscribe_bench.lab.run import Conditions, Run
from sqscribe_bench.lab.site import Site
from sqscribe_bench.lab.timeline import plot_timeline
from sqscribe_bench.lab.trace import Trace
from sqscribe_bench.lab.workload import WARM_UP
from sqscribe_bench.scale.report import ScaleReport, plot_scale, write_scale_json
from sqscribe_bench.scale.scale import TINY, Scale, ScalePlan, verdicts

__all__ = ["Setting", "compare", "measure_engine", "measure_scale"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What to compare with.

    Attributes:
        model: `demo`, `random:` and an architecture, or what faster-whisper takes.
        device: `cpu`, `cuda` or `auto`.
        compute_type: None: float16 on CUDA, int8 on CPU, as the worker has it.
        scale: For the record; the plan's workloads have it already.
        cache: For recordings and made-up models.
        results: Folder for JSON and plots.
        name: Of those.
        keep: Folder for the contenders' logs; None: they go with everything else.
        timeline: Whether the worker traces what it does, and each of its runs is drawn.
    """

    model: str
    device: str
    compute_type: str | None
    beam_size: int
    scale: float
    cache: Path
    results: Path
    name: str
    keep: Path | None = None
    timeline: bool = False


def compare(setting: Setting, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Makes what is missing, compares, and writes JSON and plot.

    Args:
        setting: With what.
        plan: What.
        tell: Told what happens, line by line.
    """
    machine = this_machine()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    device = setting.device if setting.device != "auto" else "cuda" if machine.gpus else "cpu"
    folder = model_folder(setting.model, setting.cache)
    conditions = Conditions(
        model=setting.model,
        folder=folder,
        device=device,
        compute_type=setting.compute_type or ("float16" if device == "cuda" else "int8"),
        beam_size=setting.beam_size,
        cores=machine.cores,
        tokens=TOKENS if is_random(setting.model) else None,
    )
    library = Library(setting.cache)
    made = library.make([WARM_UP, *plan.recordings])
    if made:
        tell(f"made {made} recordings in {setting.cache}")

    def draw(trace: Trace, run: Run) -> None:
        words = "words" if run.words else "no-words"
        path = setting.results / f"{setting.name}-timeline-{run.workload}-{words}-{run.round}.png"
        tell(f"wrote {plot_timeline(trace, run, path)}")

    with _site(library, setting.keep) as site:
        comparison = Comparison(plan, site, conditions, tell, draw if setting.timeline else None)
        runs = list(comparison.runs())
    report = Report(
        name=setting.name,
        started=started,
        machine=machine,
        conditions=conditions,
        rounds=plan.rounds,
        scale=setting.scale,
        settings={each.name: _set_to(each, conditions, runs) for each in comparison.contenders},
        sweeps=comparison.sweeps,
        sweep_seconds=plan.sweep_seconds,
        workloads={each.name: (len(each.recordings), each.seconds) for each in plan.workloads},
        runs=runs,
        figures=figures(runs),
    )
    tell(f"wrote {write_json(report, setting.results)}")
    tell(f"wrote {plot_comparison(report, setting.results)}")
    return report


def _set_to(contender: Contender, conditions: Conditions, runs: Sequence[Run]) -> str:
    """A contender's setting, with the batch size that it chose by itself."""
    setting = contender.setting(conditions)
    sizes = {run.notes["batch_size"] for run in runs if run.contender == contender.name and "batch_size" in run.notes}
    chosen = [f"batch {size}" for size in sizes if f"batch {size}" not in setting]
    return ", ".join([*chosen, setting])


def measure_scale(
    plan: ScalePlan,
    *,
    cache: Path,
    results: Path,
    name: str,
    keep: Path | None,
    tell: Callable[[str], None],
) -> ScaleReport:
    """Makes what is missing, measures, and writes JSON and plot.

    Args:
        plan: What.
        cache: For recordings.
        results: Folder for JSON and plot.
        name: Of those.
        keep: Folder for the workers' logs; None: they go with everything else.
        tell: Told what happens, line by line.
    """
    machine = this_machine()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    library = Library(cache)
    library.make([WARM_UP, *plan.recordings])
    with _site(library, keep) as site:
        tiny = library.wav(TINY, site.folder)
        points = list(Scale(plan, site, str(tiny), machine.cores, tell).points())
    report = ScaleReport(
        name=name, started=started, machine=machine, device=plan.device, points=points, verdicts=verdicts(points)
    )
    tell(f"wrote {write_scale_json(report, results)}")
    tell(f"wrote {plot_scale(report, results)}")
    return report


def measure_engine(
    plan: EnginePlan, *, results: Path, name: str, keep: Path | None, tell: Callable[[str], None]
) -> EngineReport:
    """Measures the engine by itself, and writes JSON and plot.

    Args:
        plan: What.
        results: Folder for JSON and plot.
        name: Of those.
        keep: Folder for the engines' logs; None: they go with everything else.
        tell: Told what happens, line by line.
    """
    machine = this_machine()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with TemporaryDirectory(prefix="sqscribe-bench-") as scratch:
        logs = keep or Path(scratch)
        logs.mkdir(parents=True, exist_ok=True)
        pcm = Path(scratch) / "windows.pcm"
        write_windows(pcm)
        sweep = EngineSweep(plan, pcm, engine_launcher(logs.absolute()), tell)
        runs = list(sweep.runs())
    report = EngineReport(
        name=name,
        started=started,
        machine=machine,
        plan=plan,
        runs=runs,
        figures=engine_figures(runs),
        notes=sweep.notes,
    )
    tell(f"wrote {write_engine_json(report, results)}")
    tell(f"wrote {plot_engine(report, results)}")
    return report


@contextmanager
def _site(library: Library, keep: Path | None) -> Iterator[Site]:
    with TemporaryDirectory(prefix="sqscribe-bench-") as scratch:
        logs = keep or Path(scratch)
        logs.mkdir(parents=True, exist_ok=True)
        with Site(library, logs.absolute()) as site:
            yield site
