# SPDX-License-Identifier: Apache-2.0
"""The engine by itself: how a sweep goes on when something does not, and what is reckoned and shown of it."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from sqscribe.cli.bench.engine import _counts, _counts_or
from sqscribe.errors import EngineBrokenError, SettingsError
from sqscribe_bench.engine.figures import engine_figures, host_share, window_memory
from sqscribe_bench.engine.plot import plot_engine
from sqscribe_bench.engine.report import EngineReport, auto_table, engine_table, write_engine_json
from sqscribe_bench.engine.sweep import EnginePlan, EngineRun, EngineSetup, EngineSweep
from sqscribe_bench.lab.machine import Machine
from sqscribe_bench.lab.nvml import NvmlSampler, nvml_sampler
from sqscribe_bench.lab.run import BenchError
from sqscribe_bench.programs.feed import Feed, OutOfMemory
from sqscribe_bench.programs.relapse import Relapse
from sqscribe_bench.programs.timed import TimedWhisper
from stages.inference.protocol import EngineSettings
from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.fallback import Retry, Take
from worker.testing.decoder import SIMULATED_SAMPLES, SimulatedDecoder, simulated_task

MIB = 2**20
PATIENCE = 30.0
BEAM = EngineSetup("random:base", "/models/base", None, beam_size=5, parallel=None, cores=None)
GREEDY = replace(BEAM, beam_size=1, cores=4, encoder="torch")
MACHINE = Machine("A processor", 8, 2**34, ("A GPU",), {"python": "3.11"}, 0.0)

ABOUT: dict[str, Any] = {
    "device": "A GPU",
    "uuid": "GPU-1",
    "compute_type": "float16",
    "revision": "abc",
    "parallel": 2,
    "cores": 8,
    "model_memory": 1000 * MIB,
    "auto_batch_size": 24,
    "row_bytes": 50 * MIB,
    "mel": {"4": [0.001, 0.060]},
}


def said(size: int, windows_a_second: float = 10.0, **changes: Any) -> dict[str, Any]:
    """What a process says of 10 s of one batch size, two batches of which are in flight."""
    windows = round(10 * windows_a_second)
    return {
        "batch_size": size,
        "relapse": 0,
        "windows": windows,
        "rows": windows,
        "batches": windows // size,
        "began": 100.0,
        "seconds": 10.0,
        "under_way": 0.9,
        "batch_median": 2 * size / windows_a_second,
        "batch_p95": 3 * size / windows_a_second,
        "cpu_seconds": 4.0,
        "peak_memory": 1100 * MIB + 2 * size * 40 * MIB,
        "text_words": 90 * windows,
        "encode": 3.0,
        "generate": 12.0,
        "align": 1.0,
    } | changes


FULL = {"batch_size": 8, "relapse": 0, "failure": "a batch did not fit", "out_of_memory": True}


def plan(setups: Sequence[EngineSetup] = (BEAM,), device: str = "cuda", rounds: int = 1) -> EnginePlan:
    return EnginePlan(device, setups, (4, 8, 16), rounds=rounds, seconds=10.0, batches=8, relapse=10, timeout=1.0)


class Scripted:
    """Processes that say what they are told to, and remember their orders."""

    def __init__(self, *scripts: Sequence[dict[str, Any]]) -> None:
        self.orders: list[tuple[Mapping[str, Any], int | None]] = []
        self._scripts = iter(scripts)

    def __call__(self, order: Mapping[str, Any], cores: int | None) -> AbstractContextManager[Scripted]:
        self.orders.append((order, cores))
        self._lines = iter([json.dumps(each) for each in next(self._scripts)])
        return nullcontext(self)

    def line(self, timeout: float) -> str:
        line = next(self._lines, "")
        if "died" in line:
            raise BenchError("engine-001 ended with exit code -9")
        return line


@contextmanager
def seen(uuid: str | None) -> Iterator[NvmlSampler]:
    """A GPU that computed for 0.97 of the time while the points were measured."""
    assert uuid == "GPU-1"
    sampler = NvmlSampler(lambda: None)
    sampler._seen = [(99.0, 0.1), (100.5, 0.2), (103.0, 0.96), (109.0, 0.98), (111.0, 0.0)]
    yield sampler


def sweep(launch: Scripted, of: EnginePlan, watch: Any = seen) -> tuple[list[EngineRun], EngineSweep]:
    made = EngineSweep(of, Path("/windows.pcm"), launch, lambda _line: None, watch)
    return list(made.runs()), made


def report(runs: Sequence[EngineRun], of: EnginePlan, notes: Sequence[str] = ()) -> EngineReport:
    return EngineReport("engine", "2025-01-01T00:00:00+00:00", MACHINE, of, runs, engine_figures(runs), notes)


def drawn(table: Table) -> str:
    console = Console(width=250, file=open(os.devnull, "w", encoding="utf-8"), record=True)  # noqa: PTH123, SIM115
    console.print(table)
    console.file.close()
    return console.export_text()


def test_configurations_take_turns_each_in_a_process_of_its_own() -> None:
    launch = Scripted(*[[ABOUT, said(4)]] * 4)

    runs, _ = sweep(launch, plan([BEAM, GREEDY], rounds=2))

    assert [(run.setup, run.round) for run in runs] == [(BEAM, 1), (GREEDY, 1), (BEAM, 2), (GREEDY, 2)]
    assert [(order["beam_size"], order["mel"], cores) for order, cores in launch.orders] == [
        (5, True, None),
        (1, True, 4),
        (5, False, None),
        (1, False, 4),
    ]
    assert [order["encoder"] for order, _ in launch.orders] == ["auto", "torch", "auto", "torch"]
    assert all(order["batch_sizes"] == [4, 8, 16] and order["model"] == "/models/base" for order, _ in launch.orders)


def test_what_does_not_fit_is_noted_and_ends_neither_the_process_nor_the_benchmark() -> None:
    again = said(4, relapse=10)
    launch = Scripted([ABOUT, said(4), FULL, again], [ABOUT, said(4), said(8)])

    runs, made = sweep(launch, plan([BEAM, GREEDY]))

    assert [[point.batch_size for point in run.points] for run in runs] == [[4, 8, 4], [4, 8]]
    assert [run.failure for run in runs] == [None, None]
    assert made.notes == [
        f"{BEAM}: batch 8 did not fit into the device's memory; larger ones were not tried.",
    ]


def test_a_process_that_dies_leaves_its_points_and_the_next_one_goes_on() -> None:
    launch = Scripted([ABOUT, said(4), {"died": True}], [ABOUT, said(4)])

    (first, second), _ = sweep(launch, plan([BEAM, GREEDY]))

    assert first.failure == "engine-001 ended with exit code -9"
    assert len(first.points) == 1
    assert second.failure is None
    assert "failed: engine-001" in drawn(engine_table(report([first, second], plan())))


def test_every_point_is_given_away_as_it_comes_so_that_it_outlives_the_sweep() -> None:
    kept: list[EngineRun] = []
    made = EngineSweep(
        plan(), Path("/windows.pcm"), Scripted([ABOUT, said(4), said(8)]), lambda _: None, seen, kept.append
    )

    (whole,) = made.runs()

    assert [point for run in kept for point in run.points] == list(whole.points)
    assert engine_figures(kept) == engine_figures([whole])


def test_busy_is_what_the_gpu_says_of_the_time_of_the_point_less_what_is_late() -> None:
    (run,), _ = sweep(Scripted([ABOUT, said(4)]), plan())

    assert run.points[0].busy == pytest.approx(0.97)


def test_busy_on_a_cpu_is_whether_a_batch_is_under_way_and_nobody_asks_a_gpu() -> None:
    (run,), _ = sweep(Scripted([ABOUT, said(4)]), plan(device="cpu"), watch=None)

    assert run.points[0].busy == 0.9


def test_without_nvml_busy_stays_open_and_is_said_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", str(tmp_path))

    # When
    runs, made = sweep(Scripted([ABOUT, said(4)], [ABOUT, said(4)]), plan(rounds=2), watch=nvml_sampler)

    # Then
    assert [run.points[0].busy for run in runs] == [None, None]
    (note,) = made.notes
    assert "neither nvidia-ml-py nor nvidia-smi is there" in note
    (figure,) = engine_figures(runs)
    assert (figure.busy, host_share(figure)) == (None, None)
    text = drawn(engine_table(report(runs, plan(), made.notes)))
    assert "neither nvidia-ml-py nor nvidia-smi is there" in text
    assert " ? " in text


def test_without_its_package_nvidia_smi_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given a program of that name that says what it was asked and goes on saying how busy the GPU is
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "[N/A]"\necho 50\nexec sleep 600\n', "utf-8")
    program.chmod(0o755)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    # When
    with nvml_sampler("GPU-1") as sampler:
        began, ended, waiting = time.monotonic(), time.monotonic() + PATIENCE, threading.Event()
        while not sampler.seen(began, ended) and time.monotonic() < ended:
            waiting.wait(0.02)

    # Then
    assert {share for _, share in sampler.seen(began, ended)} == {0.5}
    assert "--id=GPU-1" in (tmp_path / "asked").read_text("utf-8")


def test_a_sampler_looks_until_it_is_told_to_stop_and_passes_over_what_it_is_not_told() -> None:
    enough = threading.Event()
    answers = iter([1.0, None, 0.5])

    def utilisation() -> float | None:
        try:
            return next(answers)
        except StopIteration:
            enough.set()
            return None

    sampler = NvmlSampler(utilisation, look_seconds=0.001)
    with sampler.running():
        assert enough.wait(10.0)

    assert sampler.busy(0.0, float("inf")) == 0.75
    assert sampler.busy(-2.0, -1.0) is None


def test_a_batch_that_did_not_fit_ends_a_feed_that_may_not_make_it_smaller(tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    pcm.write_bytes(os.urandom(2 * SIMULATED_SAMPLES * 8))
    decoder = SimulatedDecoder.load(EngineSettings(model="fits=2&parallel=2", name="simulated"))
    task = simulated_task("job", str(pcm), 8)

    with pytest.raises(OutOfMemory):
        Feed(decoder, 4, small_batches=False).run([task])

    fed = Feed(decoder, 4).run([task])
    assert sorted(done.result.index for done in fed.results) == list(range(8))
    # Batches of 4 became 3, then 2; what one of 3 was cut into is one of 2 and one of 1
    assert 2 in (sizes := {batch.windows for batch in fed.batches})
    assert sizes <= {1, 2}


@pytest.mark.parametrize(("what", "error"), [("memory", OutOfMemory), ("raise", EngineBrokenError)])
def test_a_window_that_never_fits_is_told_from_one_that_fails(
    tmp_path: Path, what: str, error: type[EngineBrokenError]
) -> None:
    pcm = tmp_path / "pcm"
    pcm.write_bytes(bytes(2 * SIMULATED_SAMPLES))
    decoder = SimulatedDecoder.load(EngineSettings(model="", name="simulated"))

    with pytest.raises(EngineBrokenError) as failed:
        Feed(decoder, 1, small_batches=False).run([simulated_task("job", str(pcm), 1, hotwords=what)])

    assert type(failed.value) is error


def attempt(temperature: float) -> Attempt:
    return Attempt((1, 2), "two words", -0.1, 1.0, 0.0, temperature, truncated=False)


def test_one_good_text_in_ten_relapses_once() -> None:
    judge = Relapse(10)

    decisions = [judge([attempt(0.0)], 30.0, None, None) for _ in range(30)]
    second = judge([attempt(0.0), attempt(0.2)], 30.0, None, None)

    assert [place for place, each in enumerate(decisions, 1) if each == Retry(0.2, "forced")] == [10, 20, 30]
    assert sum(isinstance(each, Take) for each in decisions) == 27
    assert isinstance(second, Take)


def test_a_text_that_fails_by_itself_is_judged_as_ever() -> None:
    judge = Relapse(1)
    bad = replace(attempt(0.0), avg_logprob=-3.0)

    assert judge([bad], 30.0, None, None) == Retry(0.2, "logprob")


def test_a_timed_model_answers_as_the_model_does() -> None:
    class Model:
        n_mels = 80

        def encode(self, features: str, *, to_cpu: bool = False) -> str:
            return f"{features} {to_cpu}"

    timed = TimedWhisper(Model())

    assert (timed.n_mels, timed.encode("mel", to_cpu=True)) == (80, "mel True")
    first, second = timed.seconds(), timed.seconds()
    assert first["encode"] > 0 == second["encode"]
    assert set(first) == {"encode", "generate", "align"}


def test_figures_are_medians_and_speed_counts_windows_of_half_a_minute() -> None:
    runs, _ = sweep(Scripted(*[[ABOUT, said(4, speed)] for speed in (10.0, 30.0, 14.0)]), plan(rounds=3))

    (figure,) = engine_figures(runs)

    assert (figure.windows, figure.slowest, figure.fastest, figure.rounds) == (14.0, 10.0, 30.0, 3)
    assert figure.hours == 420.0
    assert figure.cores_used == pytest.approx(0.4)
    assert figure.cpu_per_batch == pytest.approx(4.0 / 35)
    assert (figure.mel, figure.mel_on_host) == (0.001, 0.060)
    assert host_share(figure) == pytest.approx(0.4 / 0.97)


def test_memory_of_a_window_is_the_slope_over_all_that_are_under_way() -> None:
    runs, _ = sweep(Scripted([ABOUT, said(4), said(8), said(16), said(8, relapse=10, peak_memory=0)]), plan())

    memory = window_memory(engine_figures(runs))

    assert memory is not None
    assert memory.measured == pytest.approx(40 * MIB)
    assert memory.fixed == pytest.approx(100 * MIB)
    assert memory.ratio == pytest.approx(0.8)
    assert window_memory(engine_figures(runs)[:1]) is None


def test_tables_and_json_say_everything(tmp_path: Path) -> None:
    # Given two configurations, one of which runs out of memory
    script = [ABOUT, said(4), FULL, said(4, 9.0, relapse=10, rows=99)]
    runs, made = sweep(Scripted(script, [ABOUT | {"cores": 4}, said(4), said(8, 12.0)]), plan([BEAM, GREEDY]))
    found = report(runs, plan([BEAM, GREEDY]), made.notes)

    # When
    text, auto = drawn(engine_table(found)), drawn(auto_table(found))
    written = json.loads(write_engine_json(found, tmp_path).read_text("utf-8"))

    # Then
    for piece in (
        "random:base", "float16, beam 5", "float16, encoder torch, beam 1",
        "2 in flight", "4 (pinned)", "4, 10% again", "out of memory", "0.970",
        "A processor", "A GPU", "python 3.11", "1 / 60", "did not fit into the device's memory",
    ):  # fmt: skip
        assert piece in text, piece
    for piece in ("40.0", "50.0", "0.80", "24", "0.41"):
        assert piece in auto, piece
    assert [made["batch_size"] for made in written["figures"]] == [4, 8, 4, 4, 8]
    assert written["figures"][0]["hours"] == 300.0
    assert written["runs"][0]["loaded"]["mel"] == {"4": [0.001, 0.06]}


def test_a_picture_is_drawn_of_any_of_it(tmp_path: Path) -> None:
    runs, _ = sweep(Scripted([ABOUT, said(4), said(8), said(4, relapse=10)], [ABOUT, FULL]), plan([BEAM, GREEDY]))

    path = plot_engine(report(runs, plan([BEAM, GREEDY])), tmp_path)

    assert path.read_bytes().startswith(b"\x89PNG")


def test_lists_of_numbers_are_read_or_refused() -> None:
    assert _counts("--beam-sizes", "5, 1,5") == [5, 1]
    assert _counts_or("--cores", "4,all", "all") == [4, None]
    for wrong in ("", "0", "-1", "four", "4;8"):
        with pytest.raises(SettingsError, match=r"--cores .*numbers above 0, or all"):
            _counts_or("--cores", wrong, "all")
