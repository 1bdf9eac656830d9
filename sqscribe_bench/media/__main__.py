# SPDX-License-Identifier: Apache-2.0
"""Prints the media table: each row's file is made, decoded as a worker does, and compared.

`python -m sqscribe_bench.media`; `--only NAME,…`. The files are made by the program ffmpeg and decoded by the libraries
in PyAV's wheel, which are the same wherever sqscribe is installed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from sqscribe_bench.media.judge import decoder, judge
from sqscribe_bench.media.row import CannotBeMadeError, Workshop
from sqscribe_bench.media.table import ROWS


def main() -> int:
    """Fails where a row is wrong."""
    parser = argparse.ArgumentParser(prog="python -m sqscribe_bench.media", description=__doc__)
    parser.add_argument("--only", default="", help="names of rows, separated by commas")
    parser.add_argument("--json", action="store_true", help="one JSON object a row, and one for all of them")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="decode and compare what was made there before")
    arguments = parser.parse_args()
    if arguments.judge:
        return _judge(arguments.judge, as_json=arguments.json)
    with TemporaryDirectory(prefix="sqscribe-media-") as name:
        _make(Path(name), set(filter(None, arguments.only.split(","))), as_json=arguments.json)
        # A process of its own: the memory of programs that it has waited for is that of decoding alone.
        command = [sys.executable, "-m", "sqscribe_bench.media", "--judge", name]
        return subprocess.run([*command, *(["--json"] if arguments.json else [])], check=False).returncode


def _make(folder: Path, only: set[str], *, as_json: bool) -> None:
    """Writes the rows' files."""
    shop = Workshop(folder)
    for row in ROWS:
        if only and row.name not in only:
            continue
        try:
            row.make(shop)
        except CannotBeMadeError as error:
            _print(row.name, {"skipped": str(error)}, as_json=as_json)


def _judge(folder: Path, *, as_json: bool) -> int:
    sentence = Workshop(folder).sentence
    wrong = 0
    with decoder() as decodes:
        for row in ROWS:
            path = folder / row.name
            if path.exists():
                verdict = judge(decodes, row, path, sentence, folder)
                wrong += bool(verdict.wrong)
                _print(row.name, asdict(verdict), as_json=as_json)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    _print("", {"peak": peak}, as_json=as_json)
    return 1 if wrong else 0


def _print(name: str, values: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"name": name, **values}), flush=True)
    elif "peak" in values:
        print(f"\nmost memory of a program: {int(str(values['peak'])) / 1e6:.0f} MB")
    elif "skipped" in values:
        print(f"{name:24} skipped  {values['skipped']}", flush=True)
    else:
        print(f"{name:24} {'WRONG' if values['wrong'] else 'right'}  {values['wrong'] or values['seen']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
