# SPDX-License-Identifier: Apache-2.0
"""Which steps there are, in the order of what one would want to know first."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sqscribe_bench.gpu.step import Step
from sqscribe_bench.programs.same_texts import TextSettings

__all__ = ["COMPARE_STEPS", "STEPS", "GpuPlan", "Stand", "stand_on", "steps_of"]

#: Names of all steps, in their order.
STEPS = (
    "texts",
    "tests",
    "prepare",
    "beam-5",
    "beam-1",
    "clips",
    "files",
    "mix",
    "int8",
    "large",
    "few-cores",
    "relapses",
)
#: Those that compare whole workers; what they leave are runs, and what the engine's leave are points.
COMPARE_STEPS = ("clips", "files", "mix")
_MARK = "mark.gpu"


@dataclass(frozen=True, slots=True)
class Stand:
    """What the steps are done with on a kind of device.

    Attributes:
        model: The model of nearly all steps.
        larger: A model whose decoder is larger.
        compute_type: CTranslate2's name of the type of nearly all steps.
        second_type: What is tried besides.
        text_types: Types of which the texts are compared with the CPU's in single precision.
        sizes: Batch sizes of a whole sweep.
        few_sizes: Batch sizes of the steps behind it.
        workloads: What is compared, by step: the workload and its share.
        few_cores: To how many cores the engine is pinned where cores are few.
        seconds: How long a batch size is measured, about.
        batches: On how many batches at least.
        patience: By how much all limits are longer than on a GPU.
    """

    model: str
    larger: str
    compute_type: str
    second_type: str
    text_types: Sequence[str]
    sizes: str
    few_sizes: str
    workloads: Mapping[str, tuple[str, float]]
    few_cores: int
    seconds: float
    batches: int
    patience: float


_GPU = Stand(
    model="random:large-v3-turbo",
    larger="random:large-v3",
    compute_type="float16",
    second_type="int8_float16",
    text_types=("float32", "float16"),
    sizes="1,2,4,8,16,32,48,64,128",
    few_sizes="8,16,32,64",
    workloads={"clips": ("clips", 1.0), "files": ("files", 1.0), "mix": ("mix", 0.34)},
    few_cores=4,
    seconds=2.0,
    batches=4,
    patience=1.0,
)
#: As little as shows that every step works.
_CPU = Stand(
    model="random:tiny",
    larger="random:base",
    compute_type="int8",
    second_type="float32",
    text_types=("float32", "int8"),
    sizes="1,2,4",
    few_sizes="1,2",
    workloads={"clips": ("clips", 0.01), "files": ("files", 0.025), "mix": ("short", 0.01)},
    few_cores=1,
    seconds=0.0,
    batches=2,
    patience=3.0,
)


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """What is to be measured.

    Attributes:
        device: `cuda`, or `cpu` to see that all of it works.
        only: Names of the steps; empty for all.
        released: Folders of released models, whose texts are compared besides the bundled one's.
        cache: Folder for recordings and models that are made.
        scratch: Folder for what the steps write.
        tests: The project's `tests` folder, where it was brought along.
    """

    device: str
    only: Sequence[str]
    released: Sequence[Path]
    cache: Path
    scratch: Path
    tests: Path


def stand_on(device: str) -> Stand:
    """What the steps are done with on `cpu` or `cuda`."""
    return _GPU if device == "cuda" else _CPU


def steps_of(plan: GpuPlan) -> list[Step]:
    """The steps of a plan, most important first."""
    stand = stand_on(plan.device)
    steps = [_texts(plan, stand), _tests(plan), _prepare(plan, stand)]
    few = {"batch_sizes": stand.few_sizes, "beam_sizes": "5"}
    last = stand.few_sizes.split(",")[-1]
    steps += [
        _engine(plan, "beam-5", "the engine by batch size, beam 5", {"beam_sizes": "5"}),
        _engine(plan, "beam-1", "the engine by batch size, greedy", {"beam_sizes": "1"}),
        *(_compare(plan, stand, name) for name in COMPARE_STEPS),
        _engine(plan, "int8", f"the engine in {stand.second_type}", few | {"compute_type": stand.second_type}),
        _engine(plan, "large", f"the engine with {stand.larger}", few | {"model": stand.larger}, limit=150.0),
        _engine(plan, "few-cores", f"the engine on {stand.few_cores} cores", few | {"cores": str(stand.few_cores)}),
        _engine(plan, "relapses", "one window in ten decoded again", few | {"batch_sizes": last, "relapse": "10"}),
    ]
    wanted = [step for step in steps if not plan.only or step.name in plan.only]
    return [replace(step, limit=stand.patience * step.limit) for step in wanted]


def _texts(plan: GpuPlan, stand: Stand) -> Step:
    lines = plan.scratch / "texts.jsonl"
    models = ["demo", *(str(folder.absolute()) for folder in plan.released)]
    settings = TextSettings(models, plan.device, stand.text_types, str(lines))
    program = ["-m", "sqscribe_bench.programs.same_texts", json.dumps(asdict(settings))]
    return Step("texts", "whether texts are the CPU's", program, 120.0, 15.0, lines, vital=True)


def _tests(plan: GpuPlan) -> Step:
    files = sorted(str(path) for path in plan.tests.rglob("test_*.py") if _MARK in path.read_text("utf-8"))
    missing = None
    if importlib.util.find_spec("pytest") is None:
        missing = "pytest is not installed"
    elif not files:
        missing = f"there are no tests in {plan.tests}"
    program = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    return Step("tests", "tests that need a GPU", program, 120.0, 20.0, missing=missing)


def _prepare(plan: GpuPlan, stand: Stand) -> Step:
    recordings = [f"{workload}={scale:g}" for workload, scale in stand.workloads.values()]
    program = ["-m", "sqscribe_bench.programs.prepare", str(plan.cache), stand.model, *recordings]
    return Step("prepare", "weights and recordings", program, 180.0, 10.0)


def _engine(plan: GpuPlan, name: str, tells: str, changes: Mapping[str, str], limit: float = 100.0) -> Step:
    stand = stand_on(plan.device)
    options = {
        "model": stand.model,
        "device": plan.device,
        "compute_type": stand.compute_type,
        "batch_sizes": stand.sizes,
        "parallel": "auto",
        "rounds": "1",
        "seconds": f"{stand.seconds:g}",
        "batches": str(stand.batches),
        "relapse": "0",
        **changes,
    }
    program = ["-m", "sqscribe", "bench", "engine", *_flags(options), *_files(plan, name)]
    return Step(name, tells, program, limit, 20.0, plan.scratch / f"{name}.jsonl")


def _compare(plan: GpuPlan, stand: Stand, name: str) -> Step:
    workload, scale = stand.workloads[name]
    options = {
        "workload": workload,
        "scale": f"{scale:g}",
        "model": stand.model,
        "device": plan.device,
        "compute_type": stand.compute_type,
        "rounds": "1",
        "sweep_seconds": "0",
    }
    contenders = [part for each in ("sqscribe", "batched", "loop") for part in ("--contender", each)]
    program = ["-m", "sqscribe", "bench", *_flags(options), "--no-words", "--timeline", *contenders]
    tells = f"the worker against loop and batched, {name}"
    return Step(name, tells, [*program, *_files(plan, name)], 150.0, 45.0, plan.scratch / f"{name}.jsonl")


def _flags(options: Mapping[str, str]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]


def _files(plan: GpuPlan, name: str) -> list[str]:
    return ["--cache", str(plan.cache), "--output", str(plan.scratch), "--name", name]
