# SPDX-License-Identifier: Apache-2.0
"""The documentation says what the code does: names in the reference's tables, paths of files, and links."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from sqscribe.cli import COMMANDS
from sqscribe.errors import ErrorCode, ExitCode
from sqscribe.formats import ARTIFACTS
from sqscribe.job_message import JobMessage
from sqscribe.sources import SourceScheme
from worker.leases import RenewalOutcome
from worker.node.models import ENGINES
from worker.outcomes import JobOutcome, Stage
from worker.queues.choice import FACTORIES
from worker.settings import ENV_PREFIX, Settings
from worker.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
PACKAGES = ("sqscribe", "sqscribe_bench", "stages", "worker")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def section(number: int) -> str:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    (body,) = re.findall(rf"(?ms)^## {number}\. .*?(?=^## |\Z)", text)
    return str(body)


def first_cells(text: str) -> set[str]:
    """Every name in code type in the first cell of a table's row."""
    return {name for cell in re.findall(r"(?m)^\| ([^|]*`[^|]*)\|", text) for name in re.findall(r"`([^`]+)`", cell)}


def row(text: str, name: str) -> str:
    """The row of a table that begins with a name in code type."""
    (found,) = re.findall(rf"(?m)^\| `{re.escape(name)}` \|.*$", text)
    return str(found)


def test_every_field_of_a_message_is_described() -> None:
    later = {"subtitles", "webhook", "progress"}

    assert first_cells(section(1)) == set(JobMessage.model_fields) - later
    assert all(f"`{name}`" in section(1) for name in later)
    assert all(f"`{name}`" in section(1) for name in ARTIFACTS)


def test_every_scheme_of_a_source_is_described() -> None:
    described = row(section(1), "source")

    assert [scheme for scheme in SourceScheme if f"`{scheme}:" not in described] == []


def test_every_kind_of_queue_and_of_engine_is_described() -> None:
    queue, model = row(section(4), "SQSCRIBE_QUEUE_URL"), row(section(4), "SQSCRIBE_MODEL")

    assert [scheme for scheme in FACTORIES if f"`{scheme}://" not in queue] == []
    assert [prefix for prefix in ENGINES if f"`{prefix}:" not in model] == []


def test_every_error_code_is_described() -> None:
    assert first_cells(section(2).partition("**Error codes**")[2]) == set(ErrorCode)


def test_every_warning_is_described() -> None:
    warnings = section(2).partition("| code | means |")[2].partition("| `suspect` |")[0]
    told = {
        code
        for package in ("stages", "worker")
        for path in (ROOT / package).rglob("*.py")
        for code in re.findall(r'JobWarning\(\s*"(\w+)"', path.read_text("utf-8"))
    }

    assert told
    assert first_cells(warnings) == told


def test_every_setting_is_described() -> None:
    credentials = {"s3_access_key_id", "s3_secret_access_key", "s3_region"}

    assert first_cells(section(4)) == {
        f"{ENV_PREFIX}{name.upper()}" for name in set(Settings.model_fields) - credentials
    }
    assert all(f"`{ENV_PREFIX}{name.upper()}`" in section(4) for name in credentials)


def test_the_defaults_of_settings_are_the_real_ones() -> None:
    checked = 0
    for name, default in re.findall(r"(?m)^\| `SQSCRIBE_(\w+)` \| `?([\w.-]+)`?[ :|]", section(4)):
        real = Settings.model_fields[name.lower()].default
        if real is not None:
            shown = ",".join(real) if isinstance(real, tuple) else str(real).lower().removesuffix(".0")
            assert default == shown, name
            checked += 1
    assert checked > 15


def test_every_command_is_described() -> None:
    assert {cell.split()[1] for cell in first_cells(section(5))} == set(COMMANDS)


def test_every_exit_code_is_described() -> None:
    assert {int(code) for code in re.findall(r"(?m)^\| (\d) \|", section(5))} == set(ExitCode)


def test_every_metric_is_described() -> None:
    described = first_cells(section(7))
    ours = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics().registry.collect()
        if family.name.startswith("sqscribe_")
    }

    assert described == ours
    assert all(f"`{value}`" in section(7) for values in (JobOutcome, RenewalOutcome, Stage) for value in values)


def test_every_test_that_is_named_as_a_proof_exists() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    there = {
        f"{path.name}::{name}"
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"(?m)^def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }

    named = set(re.findall(r"`(test_\w+\.py::[^`]+)`", text))

    assert len(named) > 50
    assert sorted(named - there) == []


#: Folders of the repository that pages name files of.
FOLDERS = ("deploy", "docs", "sqscribe", "sqscribe_bench", "stages", "tests", "tools", "worker")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    # Names that a person has to fill in are written in capitals, and are no paths.
    named = set(re.findall(rf"(?<![\w/.:-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w", text))

    assert sorted(path for path in named if not re.search(r"\b[A-Z]+\b", path) and not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_and_their_names_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    for dotted in re.findall(rf"`(?:python -m )?((?:{'|'.join(PACKAGES)})(?:\.(?!py\b)\w+)+)[` ]", text):
        parts = dotted.split(".")
        depth = max(n for n in range(1, len(parts) + 1) if ROOT.joinpath(*parts[:n]).exists() or module(parts[:n]))
        found: object = import_module(".".join(parts[:depth])) if depth < len(parts) else None
        for part in parts[depth:]:
            found = getattr(found, part)
    assert not re.search(r"python -m (?!sqscribe|pytest|venv|pip)", text), "measuring is in sqscribe_bench"


@pytest.fixture(scope="module")
def words_of_the_code() -> frozenset[str]:
    files = [path for folder in FOLDERS if folder not in ("docs", "tests") for path in (ROOT / folder).rglob("*.*")]
    sources = [path for path in files if path.suffix in {".py", ".yaml", ".json"}]
    return frozenset(word for path in sources for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_classes_and_constants_that_are_named_exist(page: Path, words_of_the_code: frozenset[str]) -> None:
    text = page.read_text(encoding="utf-8")

    classes = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w*)[.`]", text))
    constants = set(re.findall(r"`(_?[A-Z]+(?:_[A-Z]+)+)`", text)) | set(re.findall(r"`(_[A-Z]+)`", text))
    # Settings are in the code without their prefix, and those of AWS are boto3's
    ours = {name for name in constants if not name.startswith((ENV_PREFIX, "AWS_"))}

    assert sorted((classes | ours) - words_of_the_code) == []


def module(parts: list[str]) -> bool:
    return ROOT.joinpath(*parts).with_suffix(".py").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", file.read_text(encoding="utf-8"))
            assert anchor in {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}, target
