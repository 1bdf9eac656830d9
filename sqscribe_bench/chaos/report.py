# SPDX-License-Identifier: Apache-2.0
"""The tables of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from sqscribe_bench.chaos.nemesis import Blow

if TYPE_CHECKING:
    from rich.console import Console

    from sqscribe_bench.chaos.scenario import Options, Outcome
    from sqscribe_bench.chaos.verdict import Verdict

__all__ = ["print_report"]

#: Most lines of what went wrong that are shown.
_SHOWN = 40


def print_report(console: Console, options: Options, outcome: Outcome, verdict: Verdict) -> None:
    """Prints jobs, faults and figures, then what went wrong."""
    console.print(_jobs(verdict))
    console.print(_faults(outcome, verdict))
    console.print(_figures(outcome, verdict))
    wrong = [
        *(f"lost: {each}" for each in verdict.lost),
        *(f"wrong: {each}" for each in verdict.wrong),
        *(f"two different results: {each}" for each in verdict.two_results),
        *verdict.violations,
    ]
    for line in wrong[:_SHOWN]:
        console.print(line, style="red", markup=False, highlight=False)
    if len(wrong) > _SHOWN:
        console.print(f"... and {len(wrong) - _SHOWN} more")
    console.print(f"seed {options.seed}: {'every promise was kept' if verdict.ok else f'{len(wrong)} broken promises'}")


def _jobs(verdict: Verdict) -> Table:
    table = Table(title="Jobs", title_justify="left")
    table.add_column("kind")
    table.add_column("jobs", justify="right")
    table.add_column("as promised", justify="right")
    for kind in sorted(verdict.jobs):
        table.add_row(kind, str(verdict.jobs[kind]), str(verdict.delivered[kind]))
    table.add_section()
    table.add_row("all", str(verdict.jobs.total()), str(verdict.delivered.total()))
    return table


def _faults(outcome: Outcome, verdict: Verdict) -> Table:
    table = Table(title="Faults", title_justify="left")
    table.add_column("fault")
    table.add_column("times", justify="right")
    for blow in Blow:
        none = "no file system of its own here" if blow is Blow.FILL_DISK and not outcome.disk else "0"
        table.add_row(str(blow), str(outcome.blows[blow] or none))
    table.add_section()
    if verdict.audit is not None:
        for kind, count in sorted(verdict.audit.faults.items()):
            table.add_row(f"call: {kind}", str(count))
        table.add_row("all calls", str(verdict.audit.calls))
    return table


def _figures(outcome: Outcome, verdict: Verdict) -> Table:
    table = Table(title="Figures", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows: dict[str, object] = {
        "lost": len(verdict.lost),
        "wrong": len(verdict.wrong),
        "two different results": len(verdict.two_results),
        "dead-lettered as they should be": f"{verdict.dead_lettered} of {verdict.must_fail}",
        "windows needed (simulated, sent once)": verdict.needed,
        "windows decoded": f"{verdict.decoded} ({verdict.twice:+.1%})",
        "most receives of a message": verdict.most_receives,
        "workers that ended": len(outcome.exits),
        "of these at work, by SIGTERM": f"{verdict.terminated}, in {verdict.longest_end:.1f} s at most",
        "rules broken": len(verdict.violations),
        "seconds": round(outcome.seconds),
    }
    if verdict.audit is not None:
        rows |= {
            "fresh copies": verdict.audit.copies,
            "objects of checkpoints left over": verdict.leftovers,
            "renewals and releases refused": verdict.audit.refusals,
            "deletes with a stale receipt": verdict.audit.stale_deletes,
        }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table
