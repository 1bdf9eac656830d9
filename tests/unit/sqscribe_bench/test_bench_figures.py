# SPDX-License-Identifier: Apache-2.0
"""From runs to medians, ratios and the table."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sqscribe_bench.compare.figures import best, figures
from sqscribe_bench.compare.report import Report, shown, table, write_json
from sqscribe_bench.lab.machine import Machine
from sqscribe_bench.lab.run import Conditions, Run, Usage

MACHINE = Machine("a processor", 2, 8 << 30, (), {"python": "3.11"}, 0.5)
USAGE = Usage(
    cpu_seconds=10.0, main_cpu_seconds=3.0, ended_cpu_seconds=1.0, peak_memory=500_000_000, peak_main_memory=100_000_000
)


def run(contender: str, seconds: float, number: int = 1, **more: object) -> Run:
    made = Run(
        contender=contender,
        workload="clips",
        words=False,
        round=number,
        seconds=seconds,
        audio_seconds=1000.0,
        jobs=10,
        usage=USAGE,
        text_words=50,
        windows=12,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def report(*runs: Run) -> Report:
    return Report(
        name="test",
        started="2026-01-01T00:00:00+00:00",
        machine=MACHINE,
        conditions=Conditions("demo", "folder", "cpu", "int8", 5, 2),
        rounds=3,
        scale=0.5,
        settings={"sqscribe": "batch 2, defaults", "loop x2": "one by one, 2 x 1 thread"},
        sweeps={"batched": {4: 2.0, 8: 1.5}},
        sweep_seconds=60.0,
        workloads={"clips": (10, 1000.0)},
        runs=runs,
        figures=figures(runs),
    )


def printed(made: Report) -> str:
    out = io.StringIO()
    Console(file=out, width=220).print(table(made))
    return out.getvalue()


def test_a_figure_is_the_median_and_the_ratio_one_of_medians() -> None:
    # Given runs of which one went badly
    runs = [run("sqscribe", seconds, number) for number, seconds in enumerate((10, 20, 200))]
    runs += [run("loop", seconds, number) for number, seconds in enumerate((40, 50, 25))]

    # When they are summed up
    mine, loop = figures(runs)

    # Then it counts for little
    assert (mine.speed, mine.slowest, mine.fastest, mine.seconds) == (50.0, 5.0, 100.0, 20)
    assert loop.speed == 25.0
    assert (mine.ratio, loop.ratio) == (1.0, 2.0)
    assert mine.cpu_per_hour == 36.0
    assert mine.outside_per_hour == pytest.approx(14.4)


def test_workloads_and_words_are_kept_apart() -> None:
    runs = [
        run("sqscribe", 10),
        run("sqscribe", 20, words=True),
        run("sqscribe", 50, workload="files"),
        run("loop", 40, words=True),
    ]

    made = {(figure.contender, figure.workload, figure.words): figure for figure in figures(runs)}

    assert made["sqscribe", "clips", False].speed == 100.0
    assert made["sqscribe", "files", False].speed == 20.0
    assert made["loop", "clips", True].ratio == 2.0
    assert len(made) == 4


def test_a_run_that_failed_is_no_figure_but_one_good_run_is() -> None:
    runs = [run("sqscribe", 10), run("loop", 0, failure="no memory\nat all"), run("batched", 20)]
    runs.append(run("batched", 0, number=2, failure="killed"))

    _, loop, batched = figures(runs)

    assert (loop.failure, loop.runs, loop.ratio) == ("no memory\nat all", 0, None)
    assert (batched.failure, batched.runs, batched.ratio) == (None, 1, 2.0)


def test_without_the_one_that_is_measured_there_are_no_ratios() -> None:
    assert [figure.ratio for figure in figures([run("loop", 10), run("sqscribe", 0, failure="broken")])] == [None, None]


def test_counts_that_a_contender_does_not_tell_are_none() -> None:
    (figure,) = figures([run("limit", 10, windows=None), run("limit", 10, number=2, windows=None)])
    assert (figure.windows, figure.tokens) == (None, None)


def test_of_parallel_loops_the_best_one_is_shown() -> None:
    made = figures([run("loop", 40), run("loop x2", 20), run("loop x16", 30), run("sqscribe", 10)])

    assert [figure.contender for figure in shown(made)] == ["loop", "loop x2", "sqscribe"]
    fastest = best(made, "loop")
    assert fastest is not None
    assert fastest.contender == "loop x2"
    assert best(made, "other") is None


def test_the_table_says_what_its_figures_need() -> None:
    text = printed(
        report(
            run("limit", 8),
            run("sqscribe", 10),
            run("loop x2", 25),
            run("batched", 0, failure="a long story\nno memory"),
        )
    )

    for part in ("demo", "int8 on cpu", "beam 5", "patience 2", "a processor", "2 cores", "GPU: none", "python 3.11"):
        assert part in text
    for part in ("load average 0.5", "10 recordings, 0.28 h", "scale 0.5", "3 interleaved rounds", "one by one, 2 x 1"):
        assert part in text
    for part in ("2.50x", "0.80x", "batched failed: no memory", "tried on 60 s of audio: 4: 2.0 s, 8: 1.5 s"):
        assert part in text


def test_the_json_has_runs_and_figures(tmp_path: Path) -> None:
    path = write_json(report(run("sqscribe", 10), run("loop", 0, failure="no")), tmp_path / "results")

    content = json.loads(path.read_text("utf-8"))

    assert path.name == "test.json"
    assert content["version"] == 1
    assert [each["contender"] for each in content["runs"]] == ["sqscribe", "loop"]
    assert content["runs"][0]["usage"]["cpu_seconds"] == 10.0
    assert content["figures"][0]["speed"] == 100.0
    assert content["machine"]["cores"] == 2
