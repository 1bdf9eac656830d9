# SPDX-License-Identifier: Apache-2.0
"""`sqscribe bench` as a program, on as little as there can be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sqscribe.bundled import model_path
from sqscribe.errors import ExitCode
from sqscribe_bench.compare.contender import Sqscribe
from sqscribe_bench.lab.library import Library
from sqscribe_bench.lab.model import ARCHITECTURES, Architecture, model_folder
from sqscribe_bench.lab.nvml import NvmlSampler
from sqscribe_bench.lab.run import BenchTask, Conditions
from sqscribe_bench.lab.site import BenchSite
from sqscribe_bench.lab.trace import Trace
from sqscribe_bench.lab.workload import WARM_UP, workload
from stages.inference.protocol import RANDOM_MARK
from worker.testing.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.slow]

PATIENCE = 300.0
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def bench(*arguments: str, cache: Path, folder: Path) -> dict[str, Any]:
    """Runs it to a good end; gives its JSON."""
    pytest.importorskip("matplotlib", reason="needs sqscribe[bench]")
    command = [sys.executable, "-m", "sqscribe", "bench", *arguments, "--cache", str(cache), "-o", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=folder)
    assert ran.returncode == ExitCode.DONE, ran.stdout + ran.stderr
    (written,) = folder.glob("*.json")
    assert written.with_suffix(".png").read_bytes().startswith(PNG)
    content: dict[str, Any] = json.loads(written.read_text("utf-8"))
    return content


def test_every_contender_transcribes_the_same_and_has_sane_figures(cache: Path, tmp_path: Path) -> None:
    # Given one clip, on the bundled model
    options = ("--workload", "clips", "--scale", "0.005", "--rounds", "1", "--words", "--sweep-seconds", "0")

    # When all are compared
    content = bench(*options, cache=cache, folder=tmp_path)

    # Then each has done the job: heard about the same words, in a time that there was, with the CPU of that time
    runs = {run["contender"]: run for run in content["runs"]}
    cores = content["machine"]["cores"]
    parallel = {f"loop x{count}" for count in {2, cores} - {1}}
    assert set(runs) == {"limit", "sqscribe", "loop", "batched"} | parallel
    (heard,) = {run["text_words"] for run in runs.values() if run["contender"] in ("limit", "sqscribe", "batched")}
    assert heard > 3
    for run in runs.values():
        assert run["failure"] is None
        assert (run["jobs"], run["words"]) == (1, True)
        assert 3.0 <= run["audio_seconds"] <= 15.0
        assert 0.0 < run["seconds"] < PATIENCE
        assert 0.0 < run["usage"]["cpu_seconds"] <= 1.2 * cores * run["seconds"] + 0.2
        assert 20e6 < run["usage"]["peak_memory"] < 8e9
        assert abs(run["text_words"] - heard) <= 2
        assert 1 <= run["windows"] <= 2
    assert runs["loop"]["tokens"] > runs["batched"]["tokens"] == heard
    assert runs["sqscribe"]["usage"]["ended_cpu_seconds"] > 0.0  # of those that read media
    assert runs["sqscribe"]["notes"]["store_calls_per_job"] >= 3
    ratios = {figure["contender"]: figure["ratio"] for figure in content["figures"]}
    assert ratios["loop"] == pytest.approx(runs["loop"]["seconds"] / runs["sqscribe"]["seconds"])


def test_growth_is_measured_in_memory_and_with_several_workers(cache: Path, tmp_path: Path) -> None:
    sizes = ("--jobs", "20", "--embedded", "0", "--minutes", "0", "--workers", "2", "--shared", "2")

    content = bench("scale", *sizes, "--device", "simulated:window_seconds=0.2", cache=cache, folder=tmp_path)

    points = {(point["axis"], point["size"]): point for point in content["points"]}
    assert set(points) == {("jobs", 10), ("jobs", 20), ("workers", 1), ("workers", 2)}
    for (axis, size), point in points.items():
        assert point["failure"] is None
        assert point["jobs"] == (size if axis == "jobs" else 2)
        assert point["seconds"] > 0.0
        assert 0.0 < point["cpu_seconds"] < 20.0 * point["jobs"]
        parts = [point["parts"][part] for part in ("worker", "readers", "engine")]
        assert parts[0] > 0.0
        assert min(parts) >= 0.0  # an engine with next to nothing to do may take less than a tick of its clock
        assert sum(parts) == pytest.approx(point["cpu_seconds"])
    # Two recordings of a minute have windows enough for so long a time on one simulated device.
    assert points["workers", 1]["seconds"] > 0.8
    assert points["workers", 1]["parts"]["worker"] < points["workers", 1]["cpu_seconds"]
    assert points["workers", 2]["parts"]["store_calls_per_job"] == 4.0
    assert {line.partition(":")[0] for line in content["verdicts"]} == {"jobs", "workers"}


@pytest.mark.undisturbed
def test_a_simulated_device_is_kept_busy(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs sqscribe[bench]")

    # Given two clips and a device so slow that nothing keeps it waiting
    options = ("--workload", "clips", "--scale", "0.01", "--rounds", "1", "--speeds", "10", "--batch-size", "1")
    command = [sys.executable, "-m", "sqscribe", "bench", "busy", *options, "--cache", str(cache), "-o", str(tmp_path)]

    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=tmp_path)

    # Then its own spans say so
    assert ran.returncode == ExitCode.DONE, ran.stdout + ran.stderr
    (run,) = json.loads((tmp_path / "busy.json").read_text("utf-8"))["runs"]
    assert run["run"]["jobs"] == 2
    assert 0.9 < run["share"] <= 1.0
    assert run["longest_gap"] < 0.5
    assert (tmp_path / run["timeline"]).read_bytes().startswith(PNG)


def test_a_gpu_is_as_busy_as_it_says_itself(cache: Path, tmp_path: Path) -> None:
    # Given a worker whose batches are under way nearly all the time, and a GPU that says that it idles half of it
    @contextmanager
    def watch() -> Iterator[NvmlSampler]:
        sampler = NvmlSampler(lambda: 0.5, look_seconds=0.01)
        with sampler.running():
            yield sampler

    traces: list[Trace] = []
    settings = {"SQSCRIBE_MODEL": "simulated:window_seconds=0.5"}
    contender = Sqscribe(settings, on_trace=lambda trace, _: traces.append(trace), watch=watch)
    clips = workload("clips", 0.01)
    library = Library(cache)
    library.make([WARM_UP, *clips.recordings])
    conditions = Conditions("simulated", "", "cpu", "float32", 5, 1)

    # When it works
    with BenchSite(library, tmp_path) as site:
        run = contender.run(BenchTask(clips, words=False, round=1), site, conditions, PATIENCE)

    # Then the GPU is believed
    (trace,) = traces
    assert run.notes["device_busy_share"] == pytest.approx(0.5)
    assert all(0.0 <= moment <= run.seconds for moment, _ in trace.looks)


def test_a_benchmark_that_is_told_to_end_leaves_no_worker_behind(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs sqscribe[bench]")
    psutil = pytest.importorskip("psutil", reason="needs sqscribe[bench]")

    # Given a benchmark whose worker is there
    options = ("--workload", "clips", "--scale", "0.01", "--speeds", "0.1", "--cache", str(cache), "-o", str(tmp_path))
    with subprocess.Popen([sys.executable, "-m", "sqscribe", "bench", "busy", *options], cwd=tmp_path) as bench_run:
        eventually(
            lambda: bench_run.poll() is not None or psutil.Process(bench_run.pid).children(recursive=True), PATIENCE
        )
        family = psutil.Process(bench_run.pid).children(recursive=True)

        # When it is told to end
        bench_run.terminate()

        # Then it takes all with it
        assert bench_run.wait(PATIENCE) == 128 + signal.SIGTERM
    gone, left = psutil.wait_procs(family, timeout=5.0)
    assert gone
    assert not left


def test_a_random_model_is_made_once_and_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an architecture that is made in no time
    monkeypatch.setitem(ARCHITECTURES, "slight", Architecture(1, 1, 16, 1, 80))

    folder = Path(model_folder("random:slight", tmp_path))
    made = (folder / "model.bin").stat().st_mtime_ns

    assert Path(model_folder("random:slight", tmp_path)) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == made
    assert (folder / RANDOM_MARK).is_file()
    assert len(json.loads((folder / "vocabulary.json").read_text("utf-8"))) == 51_865
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_other_models_are_passed_on(tmp_path: Path) -> None:
    assert model_folder("demo", tmp_path) == str(model_path())
    assert model_folder("large-v3", tmp_path) == "large-v3"
