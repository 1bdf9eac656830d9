# SPDX-License-Identifier: Apache-2.0
"""Run real workers through everything that can go wrong, at random, and check that nothing was lost.

Ends by itself, within --minutes. The exit code is 0 when every promise was kept.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console

from sqscribe_bench.chaos.report import print_report
from sqscribe_bench.chaos.scenario import Course, Options, run
from sqscribe_bench.chaos.verdict import judge
from sqscribe_bench.lab.program import unwind_on_sigterm


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m sqscribe_bench.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="default: any")
    parser.add_argument("--jobs", type=int, help="about so many (default 330; 36 with --short)")
    parser.add_argument("--minutes", type=float, help="for all of it (default 19; 4 with --short)")
    parser.add_argument("--short", action="store_true", help="a short form, for every day")
    parser.add_argument("--folder", type=Path, help="for logs (default: a fresh one)")
    asked = parser.parse_args()
    unwind_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else 120)
    folder = asked.folder or Path(mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    options = _options(asked)
    console.print(f"seed {options.seed}; logs in {folder}")
    told = 0.0

    def watch(course: Course) -> None:
        nonlocal told
        if course.seconds - told >= 10.0:
            told = course.seconds
            console.print(
                f"{course.seconds:5.0f} s: {course.sent} of {course.messages} messages sent, {course.left} in the"
                f" queues, {course.blows} blows, {course.ready} workers ready"
            )

    outcome = run(options, folder, watch, console.print)
    verdict = judge(outcome, most_twice=None if asked.short else 0.15)
    print_report(console, options, outcome, verdict)
    return 0 if verdict.ok else 1


def _options(asked: argparse.Namespace) -> Options:
    if asked.short:
        return Options(
            seed=asked.seed,
            jobs=asked.jobs or 36,
            long_seconds=(90.0, 120.0),
            course=0.15,
            seconds=60 * (asked.minutes or 4.0),
            blows=4,
            simulated=2,
            window_seconds=0.3,
        )
    return Options(
        seed=asked.seed,
        jobs=asked.jobs or 330,
        long_seconds=(480.0, 720.0),
        course=0.65,
        seconds=60 * (asked.minutes or 19.0) - 60.0,
        blows=40,
        simulated=2,
        window_seconds=1.5,
    )


if __name__ == "__main__":
    sys.exit(main())
