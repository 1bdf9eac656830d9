# SPDX-License-Identifier: Apache-2.0
"""One function for each benchmark: takes a plan, measures, and writes the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqscribe_bench.busy.busy import BusyPlan, keep_busy
from sqscribe_bench.busy.report import BusyReport, write_busy
from sqscribe_bench.compare.compare import ComparePlan, SpeedComparison
from sqscribe_bench.compare.contender import Contender
from sqscribe_bench.compare.figures import figures
from sqscribe_bench.compare.plot import plot_comparison
from sqscribe_bench.compare.report import CompareReport, write_json
from sqscribe_bench.engine.figures import engine_figures
from sqscribe_bench.engine.plot import plot_engine
from sqscribe_bench.engine.report import EngineReport, write_engine_json
from sqscribe_bench.engine.sweep import EnginePlan, EngineSweep, engine_launcher, write_windows
from sqscribe_bench.lab.library import Library
from sqscribe_bench.lab.lines import LineFile
from sqscribe_bench.lab.machine import this_machine
from sqscribe_bench.lab.model import TOKENS, is_random, model_folder
from sqscribe_bench.lab.run import BenchRun, Conditions
from sqscribe_bench.lab.site import BenchSite
from sqscribe_bench.lab.timeline import plot_timeline
from sqscribe_bench.lab.trace import Trace
from sqscribe_bench.lab.workload import WARM_UP
from sqscribe_bench.scale.report import ScaleReport, plot_scale, write_scale_json
from sqscribe_bench.scale.scale import TINY, Scale, ScalePlan, verdicts

__all__ = ["CompareSetting", "compare", "measure_busy", "measure_engine", "measure_scale"]


@dataclass(frozen=True, slots=True)
class CompareSetting:
    """Under which conditions contenders are compared, and where files go.

    Attributes:
        model: `demo`, `random:` and an architecture, or what faster-whisper takes.
        device: `cpu`, `cuda` or `auto`.
        compute_type: None: float16 on CUDA, int8 on CPU, as the worker has it.
        beam_size: Of all contenders.
        scale: Is written into the report; the plan's workloads are scaled already.
        cache: Folder for recordings and models that are made.
        results: Folder for JSON and plots.
        name: Name of these files.
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


def compare(setting: CompareSetting, plan: ComparePlan, tell: Callable[[str], None]) -> CompareReport:
    """Makes what is missing, compares, and writes JSON and plot.

    Args:
        setting: Under which conditions.
        plan: What is compared.
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

    def draw(trace: Trace, run: BenchRun) -> None:
        words = "words" if run.words else "no-words"
        path = setting.results / f"{setting.name}-timeline-{run.workload}-{words}-{run.round}.png"
        tell(f"wrote {plot_timeline(trace, run, path)}")

    with _site(library, setting.keep) as site:
        comparison = SpeedComparison(plan, site, conditions, tell, draw if setting.timeline else None)
        lines, runs = LineFile(setting.results / f"{setting.name}.jsonl"), []
        for run in comparison.runs():
            lines.add(asdict(run))
            runs.append(run)
    report = CompareReport(
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


def _set_to(contender: Contender, conditions: Conditions, runs: Sequence[BenchRun]) -> str:
    """A contender's setting in words, with the batch size that it chose by itself."""
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
        plan: What is measured.
        cache: Folder for recordings that are made.
        results: Folder for JSON and plot.
        name: Name of these files.
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
        plan: What is measured.
        results: Folder for JSON and plot.
        name: Name of these files.
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
        lines = LineFile(results / f"{name}.jsonl")
        launch = engine_launcher(logs.absolute())
        sweep = EngineSweep(plan, pcm, launch, tell, keep=lambda run: lines.add(asdict(run)))
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


def measure_busy(plan: BusyPlan, *, cache: Path, results: Path, name: str, tell: Callable[[str], None]) -> BusyReport:
    """Keeps simulated devices busy, and writes JSON and pictures.

    Args:
        plan: What is measured.
        cache: Folder for recordings that are made.
        results: Folder for JSON and pictures.
        name: Name of the JSON file.
        tell: Told what happens, line by line.
    """
    machine = this_machine()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    library = Library(cache)
    library.make([WARM_UP, *plan.workload.recordings])
    conditions = Conditions(
        model="simulated", folder="", device="cpu", compute_type="float32", beam_size=5, cores=machine.cores
    )
    found = []
    with _site(library, None) as site:
        for number in range(1, plan.rounds + 1):
            for device in plan.devices:
                each = keep_busy(device, plan.workload, number, site, conditions, results, plan.timeout)
                tell(f"{device.speed:g}x, round {number}: busy {each.share:.3f}, {each.run.seconds:.1f} s")
                found.append(each)
    report = BusyReport(machine, started, found)
    write_busy(report, results / f"{name}.json")
    return report


@contextmanager
def _site(library: Library, keep: Path | None) -> Iterator[BenchSite]:
    with TemporaryDirectory(prefix="sqscribe-bench-") as scratch:
        logs = keep or Path(scratch)
        logs.mkdir(parents=True, exist_ok=True)
        with BenchSite(library, logs.absolute()) as site:
            yield site
