# SPDX-License-Identifier: Apache-2.0
"""`sqscribe doctor`: what is wrong with this machine, its settings and permissions."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqscribe.cli.settings import with_settings
from sqscribe.errors import ExitCode, SettingsError
from sqscribe.logs import configure

if TYPE_CHECKING:
    from worker.preflight import Finding

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_MARKS = {"ok": "ok      ", "skipped": "not seen", "warning": "WARNING ", "wrong": "WRONG   "}
_INDENT = " " * 10  # as wide as a mark
_MARKS |= {"unfit": "UNFIT   ", "unreachable": "NO REPLY"}


@app.command(name="doctor")
@with_settings()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a finding, a line each.")] = False,
    **settings: Any,
) -> None:
    """Look at this machine, its settings and its permissions as a worker would, and say what to do.

    It takes the worker's settings, from the environment, a `.env` file or flags. What they do not name is not looked
    at: without a queue and an output, this machine alone is. It receives nothing; below the output it writes a small
    object and deletes it.

    Exit codes: 0 a worker can run here (there may be warnings); 2 settings or permissions are wrong; 3 this machine
    cannot do the work, or reaches no queue or storage.
    """
    from worker.preflight import Finding, Severity, examine  # noqa: PLC0415 - `--help` should answer at once
    from worker.settings import read_settings  # noqa: PLC0415

    configure(level="warning")
    try:
        findings: Sequence[Finding] = examine(read_settings(**settings), device=True, whole=False)
    except SettingsError as error:
        what, _, why = str(error).partition(": ")
        findings = [Finding(what, why or str(error), "correct it", Severity.WRONG)]
    for each in findings:
        typer.echo(_as_json(each) if as_json else _for_people(each))
    severities = {each.severity for each in findings}
    if not as_json:
        _sum_up(findings)
    if Severity.WRONG in severities:
        raise typer.Exit(ExitCode.USAGE)
    if severities & {Severity.UNFIT, Severity.UNREACHABLE}:
        raise typer.Exit(ExitCode.UNFIT_NODE)


def _as_json(finding: Finding) -> str:
    values = {"severity": finding.severity, "what": finding.what, "why": finding.why, "remedy": finding.remedy}
    return json.dumps(values)


def _for_people(finding: Finding) -> str:
    lines = [f"{_MARKS[finding.severity]}  {finding.what}: {finding.why}"]
    if finding.remedy:
        lines.append(f"{_INDENT}do: {finding.remedy}")
    if sys.stdout.isatty():  # elsewhere a finding stays one line, for whoever searches
        width = shutil.get_terminal_size().columns
        lines = [_wrapped(line, width) for line in lines]
    return "\n".join(lines)


def _wrapped(line: str, width: int) -> str:
    """The line in as many as a terminal needs; addresses and paths stay whole."""
    return textwrap.fill(line, width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False)


def _sum_up(findings: Sequence[Finding]) -> None:
    bad = sum(each.severity not in {"ok", "skipped", "warning"} for each in findings)
    warned = sum(each.severity == "warning" for each in findings)
    skipped = sum(each.severity == "skipped" for each in findings)
    seen = f"{len(findings) - skipped} looked at, {bad} wrong, {warned} to know of"
    typer.echo(f"\n{seen}, {skipped} not seen" if skipped else f"\n{seen}")
