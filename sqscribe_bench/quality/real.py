# SPDX-License-Identifier: Apache-2.0
"""The comparison on real recordings: every part, every contender, one row a group."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqscribe_bench.quality.table import print_table
from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.contender import ModelSetup, QualityContender, RecordingTask
from sqscribe_bench.real.contenders import contender
from sqscribe_bench.real.heard import Case, Heard
from sqscribe_bench.real.packages import MODELS
from sqscribe_bench.real.plan import plan
from sqscribe_bench.real.recordings import Recording
from sqscribe_bench.real.score import Score, score, summed

__all__ = ["ReportRow", "compare"]


@dataclass(frozen=True, slots=True)
class ReportRow:
    """What a contender made of a group of cases.

    Attributes:
        part: Of the plan.
        group: Of the part; "all" for all of it.
        contender: Who.
        score: How well.
        took: Seconds for the whole part; of faster-whisper only what was not known yet.
    """

    part: str
    group: str
    contender: str
    score: Score
    took: float

    def to_json(self) -> dict[str, Any]:
        """All of it, with names."""
        return {
            "part": self.part,
            "group": self.group,
            "contender": self.contender,
            **self.score.to_json(),
            "took": round(self.took, 1),
        }


def compare(arguments: argparse.Namespace) -> int:
    """Prints a table a part, or one JSON object a line; a part that cannot be had is named on stderr.

    Returns:
        0, or 1 where nothing could be measured.
    """
    cache = Cache()
    try:
        model = str(cache.item(MODELS[arguments.model])) if arguments.model in MODELS else arguments.model
    except CannotBeHadError as error:
        print(f"{arguments.model}: {error}", file=sys.stderr)
        return 1
    engine = ModelSetup(model, arguments.device, arguments.compute_type, arguments.batch_size)
    contenders = {name: contender(name, engine, cache) for name in arguments.contenders}
    measured = False
    for part in arguments.only:
        try:
            recordings, cases = plan(part, cache, prompts=arguments.prompts, orders=arguments.orders)
        except CannotBeHadError as error:
            print(f"{part}: {error}", file=sys.stderr)
            continue
        wanted = (arguments.match or "").split(",")
        cases = [case for case in cases if any(each in case.recording for each in wanted)]
        if not cases:
            continue
        rows = [
            row
            for name, each in contenders.items()
            for row in _rows(part, (name, each), recordings, cases, arguments.save)
        ]
        measured = True
        if arguments.json:
            for row in rows:
                print(json.dumps(row.to_json()), flush=True)
        else:
            print_table(part, [(row.group, row.contender, row.score) for row in rows], each=arguments.each)
    return 0 if measured else 1


def _rows(
    part: str,
    named: tuple[str, QualityContender],
    recordings: dict[str, Recording],
    cases: Sequence[Case],
    save: Path | None,
) -> Iterator[ReportRow]:
    name, each = named
    began = time.monotonic()
    transcripts = each.hear([RecordingTask(recordings[case.recording].path, case.options) for case in cases])
    took = time.monotonic() - began
    groups: dict[str, list[Score]] = {}
    for case, heard in zip(cases, transcripts, strict=True):
        found = score(recordings[case.recording], heard, case.options)
        groups.setdefault(case.group, []).append(found)
        if save is not None:
            _save(save / part / name, case, recordings[case.recording], heard, found)
    for group, scores in groups.items():
        yield ReportRow(part, group, name, summed(scores), took)
    yield ReportRow(part, "all", name, summed(found for scores in groups.values() for found in scores), took)


def _save(folder: Path, case: Case, recording: Recording, heard: Heard, found: Score) -> None:
    record = {
        "path": str(recording.path),
        "options": dict(case.options),
        "score": found.to_json(),
        "said": [[sentence.start, sentence.end, sentence.text] for sentence in recording.sentences],
        **heard.to_json(),
    }
    file = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', f'{case.group}--{case.recording}')}.json"
    Cache.write(file, json.dumps(record, ensure_ascii=False, indent=1).encode())
