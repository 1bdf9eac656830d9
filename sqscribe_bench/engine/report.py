# SPDX-License-Identifier: Apache-2.0
"""The report on the engine alone: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from sqscribe_bench.engine.figures import EngineFigure, host_share, window_memory
from sqscribe_bench.engine.sweep import EnginePlan, EngineRun, EngineSetup
from sqscribe_bench.lab.machine import Machine

__all__ = ["EngineReport", "auto_table", "by_setup", "described", "engine_table", "write_engine_json"]

#: Version of the file's layout.
VERSION = 1

_MIB = 2**20
#: From this share on, windows that were decoded again without being made to are mentioned.
_WORTH_TELLING = 0.005
_CAPTION = (
    "hours/h: hours of audio an hour, in windows of 30 s that lie ready as PCM; log-mel, encoding, decoding and word "
    "times. lowest, highest: of the rounds. batch s, p95: from the moment at which a thread takes a batch to its "
    "outcomes; encode, generate, align: calls into CTranslate2 for a batch, waiting for others in flight included. "
    "CPU s/batch, cores used: of the host, all threads of the engine's process. words: in the text of a window.\n"
    "again: so many of the windows were decoded once more; in a configuration's last row they were made to, at "
    "temperature 0.2, as a fallback does."
)
_ON_GPU = (
    "busy: share of the time in which a kernel ran, as NVML tells some ten times a second; it does not say how much of "
    "the device a kernel fills. memory: the most of the device's that was in use at any moment, less what was before "
    "the model was loaded. mel: log-mel of a batch, from samples on the host to a spectrogram on the device, computed "
    "on the device / on the host's cores."
)
_ON_CPU = (
    "busy: share of the time with a batch under way; there is no device besides the CPU. memory: of the process, less "
    "what it had before the model was loaded. mel: log-mel of a batch."
)
_AUTO_CAPTION = (
    "a window: by how much the most memory in use grew with every window under way (batch x in flight), a line through "
    "all batch sizes; fixed: where it begins; reckoned: a window as whisper/batch_size.py has it for the beam. "
    "A ratio above 1 means that it reckons with too little. model: what loading took. auto: the batch that the worker "
    "would take here. --host-share: cores that the host computes on while the device does, at the fastest batch size; "
    "at most 1."
)


@dataclass(frozen=True, slots=True)
class EngineReport:
    """Everything that is reported of the engine alone.

    Attributes:
        name: Name of the files.
        started: UTC, ISO 8601.
        notes: What was left out, and why.
    """

    name: str
    started: str
    machine: Machine
    plan: EnginePlan
    runs: Sequence[EngineRun]
    figures: Sequence[EngineFigure]
    notes: Sequence[str]


def engine_table(report: EngineReport) -> Table:
    """One row for each batch size, a section for each configuration."""
    made = Table(
        title=_title(report),
        caption="\n".join([_CAPTION, _ON_GPU if report.plan.device == "cuda" else _ON_CPU, *_notes(report)]),
        title_justify="left",
        caption_justify="left",
    )
    made.add_column("engine", no_wrap=True)
    for heading in (
        "batch", "windows/s", "lowest", "highest", "hours/h", "busy", "batch s", "p95", "encode", "generate", "align",
        "CPU s/batch", "cores used", "memory MiB", "words", "mel ms",
    ):  # fmt: skip
        made.add_column(heading, justify="right")
    for own in by_setup(report.figures):
        for about, figure in zip(_beside(own), own, strict=True):
            made.add_row(about, *_row(figure))
        made.add_section()
    return made


def auto_table(report: EngineReport) -> Table:
    """The figures on which the automatic batch size and `sqscribe bench busy` should be based."""
    made = Table(
        title="For the automatic batch size, and for sqscribe bench busy --host-share",
        caption=_AUTO_CAPTION,
        title_justify="left",
        caption_justify="left",
    )
    made.add_column("model", no_wrap=True)
    for heading in (
        "weights", "beam", "in flight", "cores", "model MiB", "fixed MiB", "a window MiB", "reckoned MiB", "ratio",
        "auto", "fastest batch", "CPU s/batch", "--host-share",
    ):  # fmt: skip
        made.add_column(heading, justify="right")
    for own in by_setup(report.figures):
        good = [figure for figure in own if figure.failure is None and not figure.relapse]
        if good:
            made.add_row(*_setup(good[0]), *_auto(good))
    return made


def by_setup(figures: Sequence[EngineFigure]) -> list[list[EngineFigure]]:
    """The figures of each configuration."""
    setups: dict[EngineSetup, list[EngineFigure]] = {}
    for figure in figures:
        setups.setdefault(figure.setup, []).append(figure)
    return list(setups.values())


def described(figure: EngineFigure) -> str:
    """A configuration in one line, for a legend."""
    return ", ".join(
        [
            figure.setup.model,
            f"{figure.loaded.compute_type}{figure.setup.encoded}",
            f"beam {figure.setup.beam_size}",
            f"{figure.loaded.parallel} in flight",
            f"{figure.loaded.cores} cores",
        ]
    )


def write_engine_json(report: EngineReport, folder: Path) -> Path:
    """Writes `<name>.json` and gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": VERSION, **asdict(report)}
    for made, figure in zip(content["figures"], report.figures, strict=True):
        made |= {"hours": figure.hours, "host_share": host_share(figure)}
    for made in content["figures"]:
        del made["loaded"]  # the runs have it
    path = folder / f"{report.name}.json"
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")
    return path


def _beside(figures: Sequence[EngineFigure]) -> list[str]:
    """Describes a configuration in lines that stand beside its rows; what is left over stands beside the last one."""
    model, weights, beam, parallel, cores = _setup(figures[0])
    lines = [model, f"{weights}, beam {beam}", f"{parallel} in flight", f"cores: {cores}"]
    lines += [""] * (len(figures) - len(lines))
    last = len(figures) - 1
    return [*lines[:last], "\n".join(lines[last:])]


def _setup(figure: EngineFigure) -> list[str]:
    setup, loaded = figure.setup, figure.loaded
    cores = f"{loaded.cores}{' (pinned)' if setup.cores else ''}"
    weights = f"{loaded.compute_type}{setup.encoded}"
    return [setup.model, weights, str(setup.beam_size), str(loaded.parallel), cores]


def _row(figure: EngineFigure) -> list[str]:
    # A model that falls back by itself spoils its figures, so that is shown as well.
    again = figure.relapse or figure.again >= _WORTH_TELLING
    size = f"{figure.batch_size}, {figure.again:.0%} again" if again else str(figure.batch_size)
    if figure.failure is not None:
        return [size, figure.failure.splitlines()[-1][:60]]
    mel = [f"{1000 * each:.3g}" for each in (figure.mel, figure.mel_on_host) if each is not None]
    return [
        size,
        *(f"{speed:.2f}" for speed in (figure.windows, figure.slowest, figure.fastest)),
        f"{figure.hours:.0f}" if figure.hours >= 20 else f"{figure.hours:.1f}",
        "?" if figure.busy is None else f"{figure.busy:.3f}",
        *(
            f"{seconds:.3f}"
            for seconds in (
                figure.batch_median,
                figure.batch_p95,
                figure.encode,
                figure.generate,
                figure.align,
                figure.cpu_per_batch,
            )
        ),
        f"{figure.cores_used:.2f}",
        f"{figure.peak_memory / _MIB:.0f}",
        f"{figure.words_per_window:.0f}",
        " / ".join(mel),
    ]


def _auto(good: Sequence[EngineFigure]) -> list[str]:
    fastest = max(good, key=lambda figure: figure.windows)
    loaded, memory, share = fastest.loaded, window_memory(good), host_share(fastest)
    measured = ["?"] * 4
    if memory is not None:
        sizes = (memory.fixed, memory.measured, memory.expected)
        measured = [*(f"{each / _MIB:.1f}" for each in sizes), f"{memory.ratio:.2f}"]
    return [
        f"{loaded.model_memory / _MIB:.0f}",
        *measured,
        str(loaded.auto_batch_size),
        str(fastest.batch_size),
        f"{fastest.cpu_per_batch:.3f}",
        "?" if share is None else f"{min(1.0, share):.2f}",
    ]


def _title(report: EngineReport) -> str:
    machine, plan = report.machine, report.plan
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    devices = dict.fromkeys(run.loaded.device for run in report.runs if run.loaded)
    return (
        f"The engine alone on {', '.join(devices) or plan.device}, language en, patience 2, word times on\n"
        f"{machine.cpu}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB, "
        f"GPU: {', '.join(machine.gpus) or 'none'}; load average {machine.load} at the start\n"
        f"{versions}\n"
        f"medians of {plan.rounds} interleaved rounds, each of {plan.batches} batches and about {plan.seconds:g} s at "
        "least, warm-up excluded; each configuration in a process of its own"
    )


def _notes(report: EngineReport) -> list[str]:
    failures = {str(run.setup): run.failure for run in report.runs if run.failure is not None}
    return [*report.notes, *(f"{setup} failed: {why.splitlines()[-1][:200]}" for setup, why in failures.items())]
