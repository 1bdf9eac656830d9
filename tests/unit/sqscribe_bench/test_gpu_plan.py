# SPDX-License-Identifier: Apache-2.0
"""What a GPU is asked, in which order, and the table of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sqscribe.cli.bench.compare import app
from sqscribe.errors import ExitCode, SettingsError
from sqscribe_bench.engine.sweep import EnginePoint, EngineRun, EngineSetup, Loaded
from sqscribe_bench.gpu.plan import COMPARE_STEPS, STEPS, GpuPlan, steps_of
from sqscribe_bench.gpu.step import Ended, Outcome
from sqscribe_bench.gpu.table import gpu_table, rows
from sqscribe_bench.lab.machine import Machine
from sqscribe_bench.lab.run import BenchRun
from sqscribe_bench.programs.same_texts import Texts, compared, verdict

MIB = 2**20
MACHINE = Machine("A processor", 8, 2**34, ("A GPU",), {"python": "3.12"}, 0.0)
SETUP = EngineSetup("random:large-v3-turbo", "/models/turbo", "float16", 5, None, None)
LOADED = Loaded("A GPU", "GPU-1", "float16", "abc", 2, 8, 1600 * MIB, 24, 50 * MIB, {8: [0.001, 0.06]})
POINT = EnginePoint(
    batch_size=8, windows=400, rows=400, batches=50, seconds=10.0, busy=0.97, cpu_seconds=5.0,
    peak_memory=2240 * MIB, encode=5.0, generate=10.0, align=2.5, text_words=36_000,
)  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path) -> GpuPlan:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_device.py").write_text("@pytest.mark.gpu\n", "utf-8")
    (tests / "test_other.py").write_text("@pytest.mark.process\n", "utf-8")
    return GpuPlan("cuda", (), (), tmp_path / "cache", tmp_path / "scratch", tests)


def ended(name: str, found: Sequence[object], outcome: Outcome = Outcome.DONE, why: str = "") -> Ended:
    return Ended(name, "", outcome, why, 12.0, [asdict(each) for each in found])  # type: ignore[call-overload]


def run(*points: EnginePoint) -> EngineRun:
    return EngineRun(SETUP, 1, LOADED, points)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_most_important_comes_first_and_every_step_has_a_limit(device: str, plan: GpuPlan) -> None:
    steps = steps_of(replace(plan, device=device))

    assert tuple(step.name for step in steps) == STEPS
    assert [step.name for step in steps if step.vital] == ["texts"]
    assert all(0 < step.least <= step.limit for step in steps)
    assert all(step.lines for step in steps if step.name not in ("tests", "prepare"))
    assert all(device in step.arguments for step in steps if step.name not in ("texts", "tests", "prepare"))


def test_what_is_most_wanted_of_a_gpu_has_its_time_though_all_before_it_take_as_long_as_they_may(plan: GpuPlan) -> None:
    steps = {step.name: step for step in steps_of(plan)}

    before = sum(steps[name].limit for name in STEPS[: STEPS.index("beam-5")])
    assert before + steps["beam-5"].least < 8 * 60
    assert max(step.limit for step in steps.values()) <= 180


def test_only_tests_for_a_gpu_are_run_and_none_where_there_are_none(plan: GpuPlan, tmp_path: Path) -> None:
    (tests,) = steps_of(replace(plan, only=["tests"]))
    (none,) = steps_of(replace(plan, only=["tests"], tests=tmp_path / "nowhere"))

    assert [Path(each).name for each in tests.arguments if each.endswith(".py")] == ["test_device.py"]
    assert tests.missing is None
    assert none.missing == f"there are no tests in {tmp_path / 'nowhere'}"


@pytest.mark.parametrize("name", [name for name in STEPS if name not in ("texts", "tests", "prepare")])
def test_every_option_of_a_step_is_one_of_the_command(name: str, plan: GpuPlan) -> None:
    # Given the arguments behind `sqscribe bench`, and a wish for help, which is granted if all others are understood
    (step,) = steps_of(replace(plan, only=[name]))
    arguments = list(step.arguments)[3:]

    ran = CliRunner().invoke(app, [*arguments, "--help"])
    wrong = CliRunner().invoke(app, [*arguments, "--no-such-option", "1", "--help"])

    assert step.arguments[:3] == ["-m", "sqscribe", "bench"]
    assert ran.exit_code == 0, ran.output
    assert wrong.exit_code == ExitCode.USAGE
    assert (name in COMPARE_STEPS) is (arguments[0] != "engine")


def test_a_step_that_is_unknown_is_refused() -> None:
    ran = CliRunner().invoke(app, ["gpu", "--only", "texts,speed"])

    assert isinstance(ran.exception, SettingsError)
    assert "speed is unknown" in str(ran.exception)


def test_texts_that_differ_are_counted_and_judged_by_the_type() -> None:
    # Given 200 words, one of which is another on the device, and a device that says nothing
    wanted = ["word " * 100, "other " * 100]
    found = ["word " * 99 + "ward", wanted[1]]

    single, half = (compared("demo", kind, wanted, found) for kind in ("float32", "float16"))
    silent = compared("demo", "float16", wanted, ["", ""])

    assert (half.clips, half.same, half.words, half.errors) == (2, 1, 200, 1)
    assert verdict([half]) is verdict([single]) is ExitCode.DONE
    assert verdict([replace(single, errors=2)]) is ExitCode.JOBS_FAILED
    assert verdict([half, silent]) is ExitCode.UNFIT_NODE
    assert verdict([compared("demo", "float16", [""], [""])]) is ExitCode.UNFIT_NODE


def test_the_table_of_a_sweep_says_speed_memory_and_calls() -> None:
    bigger = replace(POINT, batch_size=16, batches=25, peak_memory=2880 * MIB)
    full = EnginePoint(batch_size=32, failure="a batch did not fit", out_of_memory=True)

    found = dict(rows(ended("beam-5", [run(POINT), run(bigger), run(full)])))

    setup = "random:large-v3-turbo, float16, beam 5"
    assert found[f"{setup}, batch 8"] == (
        "1200 hours/h, busy 0.970, encode 0.100, generate 0.200, align 0.050 s, CPU 0.100 s, memory 2240 MiB, "
        "90 words a window"
    )
    assert found[f"{setup}, batch 32"] == "out of memory"
    assert found["memory of a window under way"] == "40.0 MiB, reckoned 50.0, ratio 0.80; fixed 0 MiB"
    assert found["batch size"].startswith("24 (automatic), 8 was fastest; 2 in flight; model 1600 MiB")


def test_the_table_of_a_comparison_says_how_many_times_as_fast() -> None:
    ours = BenchRun(
        "sqscribe", "clips", words=False, round=1, seconds=2.0, audio_seconds=2000.0, notes={"device_busy_share": 0.9}
    )
    loop = replace(ours, contender="loop", seconds=12.0, notes={})
    batched = replace(loop, contender="batched", seconds=0.0, failure="it\nwas out of memory")

    found = dict(rows(ended("clips", [ours, batched, loop])))

    assert found["clips: sqscribe"].startswith("1000.0x real time, busy 0.900")
    assert "sqscribe 6.00 times as fast" in found["clips: loop"]
    assert found["clips: batched"] == "failed: was out of memory"


def test_every_step_has_a_row_and_those_that_did_not_end_well_say_why() -> None:
    texts = Texts("demo", "float16", 9, 8, 200, 1)
    all_of_them = [
        ended("texts", [texts], Outcome.FAILED, "exit code 5: words differ"),
        replace(ended("tests", []), said="3 passed, 2 skipped in 9.00s"),
        ended("beam-5", [run(POINT)], Outcome.CUT, "70 s were over"),
        ended("mix", [], Outcome.SKIPPED, "needs 45 s, 3 s were left"),
    ]
    console = Console(width=220, record=True)
    console.print(gpu_table(MACHINE, all_of_them))

    text = console.export_text()
    for piece in ("8 of 9 texts alike", "3 passed, 2 skipped",
                  "0.50%, 2.0% allowed", "exit code 5: words differ", "70 s were over", "mix",
                  "cut off", "needs 45 s, 3 s were left", "A processor, 8 cores", "A GPU", "python 3.12"):  # fmt: skip
        assert piece in text, piece
