# SPDX-License-Identifier: Apache-2.0
"""The minutes of a GPU: steps are bounded, written down as they end, and skipped by name when time is short."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from sqscribe.errors import ExitCode
from sqscribe_bench.gpu.bounded import GRACE_SECONDS, run_bounded
from sqscribe_bench.gpu.budget import Budget
from sqscribe_bench.gpu.step import Ended, Outcome, Step
from sqscribe_bench.lab.lines import LineFile, read_lines

#: A program that starts another one in a session of its own, says its id, and goes on whatever it is told.
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


class Programs:
    """Programs that take so many seconds of a clock that nobody waits for; those not named end at once."""

    def __init__(self, takes: Mapping[str, float] | None = None, codes: Mapping[str, int] | None = None) -> None:
        self.now = 100.0
        self.limits: dict[str, float] = {}
        self._takes = takes or {}
        self._codes = codes or {}

    def run(self, arguments: Sequence[str], log: Path, limit: float) -> int | None:
        (name,) = arguments
        self.limits[name] = limit
        took = self._takes.get(name, 0.0)
        self.now += min(took, limit)
        if took > limit:
            return None
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{name} says so\n")
        return self._codes.get(name, 0)


def step(name: str, limit: float = 100.0, least: float = 10.0, **more: object) -> Step:
    return Step(name, f"what {name} tells", [name], limit, least, **more)  # type: ignore[arg-type]


@pytest.fixture
def carry_out(tmp_path: Path) -> Callable[..., dict[str, Ended]]:
    def carried(programs: Programs, steps: Sequence[Step], seconds: float) -> dict[str, Ended]:
        kept = LineFile(tmp_path / "gpu.jsonl")
        budget = Budget(
            seconds + GRACE_SECONDS, tmp_path / "gpu.log", kept, lambda _: None, programs.run, lambda: programs.now
        )
        ended = {each.name: each for each in budget.carry_out(steps)}
        assert [line["name"] for line in read_lines(kept.path)] == list(ended)
        return ended

    return carried


def test_what_there_is_no_time_for_is_skipped_by_name_and_what_is_short_may_yet_run(
    carry_out: Callable[..., dict[str, Ended]],
) -> None:
    programs = Programs({"first": 60.0})

    ended = carry_out(programs, [step("first"), step("long", least=50.0), step("short", least=30.0)], 100.0)

    assert [each.outcome for each in ended.values()] == [Outcome.DONE, Outcome.SKIPPED, Outcome.DONE]
    assert ended["long"].why == "needs 50 s, 40 s were left"
    assert programs.limits == {"first": 100.0, "short": 40.0}
    assert [each.said for each in ended.values()] == ["first says so", "", "short says so"]


def test_a_step_is_cut_off_at_its_limit_and_what_it_had_found_counts(
    tmp_path: Path, carry_out: Callable[..., dict[str, Ended]]
) -> None:
    # Given a step that has found one thing, and was writing the next one down
    lines = tmp_path / "sweep.jsonl"
    lines.write_text('{"batch": 1}\n{"batch": 2, "wor', "utf-8")

    # When it takes too long
    ended = carry_out(Programs({"sweep": 1000.0}), [step("sweep", limit=70.0, lines=lines), step("next")], 200.0)

    # Then
    assert (ended["sweep"].outcome, ended["sweep"].seconds) == (Outcome.CUT, 70.0)
    assert list(ended["sweep"].found) == [{"batch": 1}]
    assert ended["next"].outcome is Outcome.DONE
    assert read_lines(tmp_path / "gpu.jsonl")[0]["found"] == [{"batch": 1}]


@pytest.mark.parametrize(
    ("code", "goes_on"), [(ExitCode.UNFIT_NODE, False), (ExitCode.JOBS_FAILED, True), (ExitCode.UNEXPECTED, True)]
)
def test_nothing_is_measured_on_a_device_that_does_not_compute(
    code: ExitCode, goes_on: bool, carry_out: Callable[..., dict[str, Ended]]
) -> None:
    programs = Programs(codes={"texts": code})

    ended = carry_out(programs, [step("texts", vital=True), step("sweep")], 200.0)

    assert ended["texts"].outcome is Outcome.FAILED
    assert ended["texts"].why == f"exit code {code}: texts says so"
    assert ended["sweep"].outcome is (Outcome.DONE if goes_on else Outcome.SKIPPED)
    assert ("texts failed" in ended["sweep"].why) is not goes_on


def test_what_cannot_be_run_here_says_why(carry_out: Callable[..., dict[str, Ended]]) -> None:
    ended = carry_out(Programs(), [step("tests", missing="pytest is not installed")], 200.0)

    assert (ended["tests"].outcome, ended["tests"].why) == (Outcome.SKIPPED, "pytest is not installed")


def test_a_program_that_will_not_end_is_killed_with_whatever_it_started(tmp_path: Path) -> None:
    log = tmp_path / "log"

    code = run_bounded(["-c", STUBBORN], log, limit=3.0, grace=0.2)

    assert code is None
    child = int(log.read_text("utf-8"))
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(10.0)
    assert not psutil.pid_exists(child)


def test_a_program_within_its_limit_gives_its_code_and_its_words(tmp_path: Path) -> None:
    log = tmp_path / "log"

    codes = [run_bounded(["-c", f"import sys; print({code}); sys.exit({code})"], log, limit=60.0) for code in (0, 5)]

    assert codes == [0, 5]
    assert log.read_text("utf-8") == "0\n5\n"


def test_lines_are_there_as_soon_as_they_are_added(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lines.jsonl"
    lines = LineFile(path)

    assert read_lines(path) == []
    lines.add({"a": 1})
    assert read_lines(path) == [{"a": 1}] == [json.loads(path.read_text("utf-8"))]
    assert read_lines(tmp_path / "none") == []
