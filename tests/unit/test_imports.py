# SPDX-License-Identifier: Apache-2.0
"""Imports run one way: worker → stages → sqscribe; walls stand; heavy libraries stay in the inference process."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PACKAGES = ("sqscribe", "sqscribe_bench", "stages", "worker")

#: Loaded by the inference process alone; faster_whisper imports ctranslate2.
HEAVY = {"torch", "ctranslate2", "faster_whisper"}

#: Turns the worker's settings into flags; loaded by the commands that run a worker, and by them alone.
WORKERS_FLAGS = "sqscribe/cli/settings.py"

#: The only folders that load the heavy libraries: each engine has one of its own.
HEAVY_HOMES = ("stages/inference/whisper/", "stages/inference/parakeet/")

#: What sqscribe is compared with: programs of the benchmark, each in a process of its own that has no leases.
CONTENDERS = {
    "sqscribe_bench/programs/loop.py",
    "sqscribe_bench/frontend.py",
    "sqscribe_bench/quality/clips.py",
    "sqscribe_bench/real/audio.py",
    "sqscribe_bench/real/theirs.py",
}

#: Programs of the benchmark that look at the device themselves, likewise.
ENGINE_PROGRAMS = {
    "sqscribe_bench/programs/encoders.py",
    "sqscribe_bench/programs/engine.py",
    "sqscribe_bench/programs/memory.py",
}


#: Walls between rooms: what a folder may not import, however deep inside a function.
WALLS = [
    # The fakes ship, but a worker runs without them; a simulated model's are loaded by name.
    *((folder, "worker.testing") for folder in ("sqscribe", "stages", "worker")),
    # The engine's process loads the decoder by name: another engine needs no change here.
    ("stages/inference/engine", "stages.inference.whisper"),
    ("stages/inference/client", "stages.inference.whisper"),
    *((f"stages/inference/{folder}", "stages.inference.parakeet") for folder in ("engine", "client", "whisper")),
    # What receives, holds and measures messages knows nothing of what is done with them.
    *((f"worker/{folder}", "worker.jobs") for folder in ("receive", "leases", "node", "telemetry")),
]

#: May import `worker.testing`: itself, and the launcher of workers for demonstrations, measuring and tests.
FAKES_ALLOWED = ("worker/testing/", "worker/embedded/")

#: Most lines of a module. One that has more is two nouns.
MAX_LINES = 400


@dataclass(frozen=True)
class Import:
    """One module that a file imports.

    Attributes:
        name: The module's full name.
        names: What is taken from it; empty for `import name`.
        line: Where.
        runs: Whether loading the file runs it.
    """

    name: str
    names: tuple[str, ...]
    line: int
    runs: bool


def modules(package: str, root: Path = ROOT) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def imports(path: Path, root: Path = ROOT) -> Iterator[Import]:
    package = path.relative_to(root).parent.parts

    def walk(node: ast.AST, *, runs: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, (), node.lineno, runs)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            whole = ".".join(part for part in (base, node.module) if part)
            yield Import(whole, tuple(name.name for name in node.names), node.lineno, runs)
        deeper = runs and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            deeper = False
        for child in ast.iter_child_nodes(node):
            yield from walk(child, runs=deeper)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), runs=True)


def offences(package: str, forbidden: set[str], *, when_loaded: bool = False) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{each.line} imports {each.name}"
        for path in modules(package)
        for each in imports(path)
        if each.name.partition(".")[0] in forbidden and (each.runs or not when_loaded)
    ]


def crossings(folder: str, forbidden: str, root: Path = ROOT) -> list[str]:
    """Imports of a module, or of one below it, in a folder."""
    return [
        f"{path.relative_to(root)}:{each.line} imports {name}"
        for path in modules(folder, root)
        for each in imports(path, root)
        for name in (each.name, *(f"{each.name}.{taken}" for taken in each.names))
        if name == forbidden or name.startswith(f"{forbidden}.")
    ]


def graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Each of our modules with those of ours that it imports, lazily or not. A package is its `__init__`."""
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in modules(package, root)
    }
    arrows: dict[str, set[str]] = {}
    for module, path in files.items():
        arrows[module] = set()
        for each in imports(path, root):
            submodules = {f"{each.name}.{taken}" for taken in each.names} & set(files)
            # What is no module of its own is a name that the package itself has.
            itself = {each.name} & set(files) if len(submodules) < max(1, len(each.names)) else set()
            arrows[module] |= submodules | itself
        # To import a module runs the packages around it first, but for those that are being imported already.
        around = {parent for target in arrows[module] for parent in parents(target)} & set(files)
        arrows[module] |= around - {module, *parents(module)}
    return arrows


def parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the next, and the last one the first; empty when there are none."""
    done: set[str] = set()

    def follow(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for following in sorted(arrows[module]):
            if found := follow(following, [*way, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(arrows) if (found := follow(module, []))), [])


def too_long(root: Path = ROOT) -> list[str]:
    lengths = {
        str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines())
        for package in PACKAGES
        for path in modules(package, root)
    }
    return [f"{path} has {lines} lines" for path, lines in lengths.items() if lines > MAX_LINES]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


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

    outside = [each for each in found if not each.startswith(HEAVY_HOMES)]
    assert [each for each in outside if each.partition(":")[0] not in CONTENDERS | ENGINE_PROGRAMS] == []


@pytest.mark.parametrize(("folder", "forbidden"), WALLS)
def test_walls_between_rooms_stand(folder: str, forbidden: str) -> None:
    assert modules(folder)
    found = crossings(folder, forbidden)

    assert [each for each in found if forbidden != "worker.testing" or not each.startswith(FAKES_ALLOWED)] == []


@pytest.mark.parametrize(("folder", "forbidden"), WALLS)
@pytest.mark.parametrize("how", ["import {0}", "import {0}.deeper", "from {0} import something", "from {1} import {2}"])
def test_a_wall_that_is_crossed_is_seen_though_it_be_in_a_function(
    tmp_path: Path, folder: str, forbidden: str, how: str
) -> None:
    parent, _, last = forbidden.rpartition(".")
    # Given a module that crosses the wall only when one of its functions is called
    crossing = how.format(forbidden, parent, last)
    write(tmp_path, {f"{folder}/a.py": f"import os\n\ndef call():\n    {crossing}\n", f"{folder}/b.py": ""})
    # Then it is named, with its line
    assert {each.partition(" ")[0] for each in crossings(folder, forbidden, tmp_path)} == {f"{folder}/a.py:4"}


def test_a_name_that_only_begins_like_a_forbidden_module_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"worker/leases/a.py": "from worker.jobs_of_others import thing\nfrom worker import name\n"})

    assert crossings("worker/leases", "worker.jobs", tmp_path) == []


def test_no_imports_go_in_a_circle() -> None:
    arrows = graph()

    assert sum(len(targets) for targets in arrows.values()) > len(arrows)
    assert circle(arrows) == []


def test_a_circle_is_seen_though_one_of_its_imports_be_lazy(tmp_path: Path) -> None:
    # Given three modules in two packages that import each other, the last one only when it is called
    files = {
        "sqscribe/__init__.py": "",
        "sqscribe/alone.py": "import sqscribe.values\n",
        "sqscribe/values.py": "def call():\n    from stages.middle import thing\n",
        "stages/__init__.py": "",
        "stages/middle.py": "from worker import end\n",
        "worker/end.py": "import sqscribe.values\n",
    }
    write(tmp_path, files)
    # Then the circle is told, and what only leads to it is not
    assert circle(graph(tmp_path)) == ["sqscribe.values", "stages.middle", "worker.end", "sqscribe.values"]
    # And there is none without the lazy import
    write(tmp_path, {"sqscribe/values.py": ""})
    assert circle(graph(tmp_path)) == []


def test_a_circle_through_a_package_that_is_not_named_is_seen(tmp_path: Path) -> None:
    files = {
        "sqscribe/__init__.py": "",
        "stages/__init__.py": "from sqscribe import values\n",
        "stages/leaf.py": "",
        "sqscribe/values.py": "import stages.leaf\n",
    }
    write(tmp_path, files)

    assert circle(graph(tmp_path)) == ["sqscribe.values", "stages", "sqscribe.values"]


def test_no_module_has_more_than_four_hundred_lines() -> None:
    assert too_long() == []


def test_a_module_that_is_too_long_is_seen(tmp_path: Path) -> None:
    write(tmp_path, {"worker/long.py": "\n" * (MAX_LINES + 1), "worker/right.py": "\n" * MAX_LINES})

    assert too_long(tmp_path) == ["worker/long.py has 401 lines"]


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
    # What forks readers is a program of its own that has no thread, lock or client.
    meant = re.compile(
        r"(stages/inference/client/child|sqscribe_bench/[/\w]+)\.py: Process|stages/reader/parent\.py: fork"
    )
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
