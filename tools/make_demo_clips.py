# SPDX-License-Identifier: Apache-2.0
"""Make the clips of `sqscribe demo`: speak, encode, listen, and say anew what the bundled model mishears.

The clips are chosen because sqscribe and faster-whisper transcribe them with the model. They are a smoke test of the
whole way from a media file to a transcript, and say nothing about how accurate the model is; docs/demo-model.md does.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from demo_clips.maker import make, write_truth
from demo_clips.plans import BROKEN_BYTES, BROKEN_FILE, PLANS

_BUNDLED = Path(__file__).resolve().parent.parent / "sqscribe" / "bundled"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="files to make (default: all)")
    parser.add_argument("--output", type=Path, default=_BUNDLED / "clips", help="where they go (default: the package)")
    parser.add_argument("--model", type=Path, default=_BUNDLED / "model", help="CTranslate2 folder that listens")
    parser.add_argument("--rounds", type=int, default=25, help="how often phrases are said anew (default: 25)")
    parser.add_argument("--jobs", type=int, default=2, help="clips made at a time (default: 2)")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {plan.file for plan in PLANS} - {BROKEN_FILE}
    if unknown:
        parser.error(f"no such clip: {', '.join(sorted(unknown))}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    if not arguments.names or BROKEN_FILE in arguments.names:
        (arguments.output / BROKEN_FILE).write_bytes(BROKEN_BYTES)
        nothing = {"file": BROKEN_FILE, "expected": "media_unreadable", "duration": 0.0, "voices": [], "words": []}
        write_truth(arguments.output, nothing)
    plans = [plan for plan in PLANS if not arguments.names or plan.file in arguments.names]
    # What espeak-ng says depends on what it said before: with a process of its own, a clip comes out the same alone.
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        makings = [pool.submit(make, plan, arguments.model, arguments.output, arguments.rounds) for plan in plans]
        for plan, making in zip(plans, makings, strict=True):
            print(f"{plan.file}: {making.result().worst:.2%} of its words misheard in the worst mode", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
