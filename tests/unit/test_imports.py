# SPDX-License-Identifier: Apache-2.0
"""Imports run one way: worker → stages → sqscribe; the heavy libraries stay in the inference process."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PACKAGES = ("sqscribe", "sqscribe_bench", "stages", "worker")

#: Loaded by the inference process alone; faster_whisper imports ctranslate2.
HEAVY = {"torch", "ctranslate2", "faster_whisper"}

#: Turns the worker's settings into flags; loaded by the commands that run a worker, and by them alone.
WORKERS_FLAGS = "sqscribe/cli/settings.py"

#: The only folder that loads the heavy libraries: another engine has one of its own.
HEAVY_HOME = "stages/inference/whisper/"

#: What sqscribe is compared with: programs of the benchmark, each in a process of its own that has no leases.
CONTENDERS = {
    "sqscribe_bench/programs/loop.py",
    "sqscribe_bench/frontend.py",
    "sqscribe_bench/quality/clips.py",
    "sqscribe_bench/real/audio.py",
    "sqscribe_bench/real/theirs.py",
}

#: Programs of the benchmark that look at the device themselves, likewise.
ENGINE_PROGRAMS = {"sqscribe_bench/programs/engine.py", "sqscribe_bench/programs/memory.py"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Each import of a file: the module's full name, its line, and whether loading the file runs it."""
    package = path.relative_to(ROOT).parent.parts

    def walk(node: ast.AST, *, runs: bool) -> Iterator[tuple[str, int, bool]]:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno, runs
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            yield ".".join(part for part in (base, node.module) if part), node.lineno, runs
        deeper = runs and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            deeper = False
        for child in ast.iter_child_nodes(node):
            yield from walk(child, runs=deeper)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), runs=True)


def offences(package: str, forbidden: set[str], *, when_loaded: bool = False) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for name, line, runs in imports(path)
        if name.partition(".")[0] in forbidden and (runs or not when_loaded)
    ]


def test_there_is_something_to_look_at() -> None:
    for package in PACKAGES:
        assert any(list(imports(path)) for path in modules(package))


def test_sqscribe_imports_no_stage_and_no_worker_but_lazily_on_the_command_line() -> None:
    outside_cli = [each for each in offences("sqscribe", {"stages", "worker"}) if not each.startswith("sqscribe/cli")]
    on_loading = offences("sqscribe/cli", {"stages", "worker"}, when_loaded=True)

    assert outside_cli == []
    assert [each for each in on_loading if each.partition(":")[0] != WORKERS_FLAGS] == []


def test_stages_import_no_worker() -> None:
    assert offences("stages", {"worker"}) == []


def test_heavy_libraries_are_imported_in_the_inference_process_alone() -> None:
    found = [each for package in PACKAGES for each in offences(package, HEAVY)]

    outside = [each for each in found if not each.startswith(HEAVY_HOME)]
    assert [each for each in outside if each.partition(":")[0] not in CONTENDERS | ENGINE_PROGRAMS] == []


def test_processes_are_spawned_and_share_nothing_but_pipes() -> None:
    """Forking takes locks and CUDA along; shared memory needs a /dev/shm; a semaphore's holder may be killed."""
    forbidden = {
        "fork", "forkpty", "forkserver", "Process", "Manager", "ProcessPoolExecutor", "shared_memory",
        "SharedMemory", "RawArray", "RawValue", "Semaphore", "BoundedSemaphore", "set_start_method", "preexec_fn",
    }  # fmt: skip
    contexts, found = [], []
    for path in (path for package in PACKAGES for path in modules(package)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {getattr(node, field, None) for field in ("id", "attr", "arg", "module")}
            if isinstance(node, ast.ImportFrom | ast.Import):
                names |= {name.name.rpartition(".")[2] for name in node.names}
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names & forbidden]
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "get_context":
                contexts += [ast.literal_eval(argument) for argument in node.args]

    # `SpawnContext.Process` is the one that is meant; the benchmark looks at processes with psutil's.
    meant = re.compile(r"(stages/inference/client/child|sqscribe_bench/[/\w]+)\.py: Process")
    assert [each for each in found if not meant.fullmatch(each)] == []
    assert set(contexts) == {"spawn"}


@pytest.mark.parametrize(
    ("module", "stranger"),
    [
        ("worker.daemon", HEAVY),
        ("stages.inference.client.client", HEAVY),
        ("sqscribe_bench.compare.compare", HEAVY),
        ("sqscribe", HEAVY | {"worker", "stages", "boto3", "pydantic", "numpy"}),
        *(
            (module, HEAVY | {"worker", "stages", "boto3", "moto", "numpy", "onnxruntime", "yt_dlp"})
            for module in ("sqscribe.cli", "sqscribe.cli.enqueue", "sqscribe.cli.fetch")
        ),
    ],
)
def test_a_light_module_loads_nothing_heavy(module: str, stranger: set[str]) -> None:
    program = f"import sys, {module}; print(*sorted({stranger!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
