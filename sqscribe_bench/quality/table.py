# SPDX-License-Identifier: Apache-2.0
"""Scores as a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from sqscribe_bench.real.score import Score, summed

__all__ = ["print_table"]

_COUNTS = {
    "sub": "substituted",
    "del": "deleted",
    "ins": "inserted",
    "lang": "wrong_languages",
    "stray": "strays",
    "unheard": "longest_unheard",
    "suspect": "suspects",
    "warn": "warnings",
    "echo": "echoes",
    "shape": "misshapen",
    "failed": "failed",
}


def print_table(part: str, rows: Iterable[tuple[str, str, Score]], *, each: bool) -> None:
    """Prints one part.

    Args:
        part: Its name.
        rows: Group, contender and score.
        each: A row for every group, also those that differ in the prompt alone.
    """
    merged: dict[tuple[str, str], list[Score]] = {}
    for group, contender, score in rows:
        merged.setdefault((group if each else group.split(" =")[0] + " *" * (" =" in group), contender), []).append(
            score
        )
    order = list(dict.fromkeys(group for group, _ in merged))
    table = Table(title=part)
    for column in ("", "contender", "files", "words", "errors", *_COUNTS):
        table.add_column(column, justify="left" if column in {"", "contender"} else "right")
    for (group, contender), scores in sorted(merged.items(), key=lambda item: order.index(item[0][0])):
        table.add_row(group, contender, *_cells(summed(scores)))
    Console(width=140 if not sys.stdout.isatty() else None).print(table)


def _cells(score: Score) -> list[str]:
    rate = f"{score.errors / score.words:.2%}" if score.words else "-"
    counts = (getattr(score, field) for field in _COUNTS.values())
    return [
        str(score.recordings),
        str(score.words),
        rate,
        *(f"{n:.1f} s" if isinstance(n, float) else str(n) for n in counts),
    ]
