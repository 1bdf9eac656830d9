# SPDX-License-Identifier: Apache-2.0
"""What was said where nobody wrote it down: what most of several decodings agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiwer

from sqscribe_bench.real.cache import Cache
from sqscribe_bench.real.contender import ModelSetup, RecordingTask
from sqscribe_bench.real.contenders import contender
from sqscribe_bench.real.packages import MODELS
from sqscribe_bench.real.text import tokens

__all__ = ["consensus", "voted"]

#: Model, way and options of each vote; two models, and windows that begin elsewhere, so that they err differently.
_VOTES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("base", "sequential", {}),
    ("base", "sequential", {"beam_size": 8, "vad": False}),
    ("base", "batched", {"beam_size": 8, "chunk_length": 12}),
    ("tiny.en", "sequential", {"beam_size": 8}),
    ("tiny.en", "batched", {"beam_size": 8, "chunk_length": 12}),
)


def consensus(path: Path, cache: Cache) -> str:
    """The text of an English recording; takes a minute or two of a CPU the first time.

    Args:
        path: The recording.
        cache: Has the models, and keeps what they said.

    Raises:
        CannotBeHadError: A model is not to be had.
    """
    heard = [
        contender(way, ModelSetup(str(cache.item(MODELS[model])), compute_type="float32"), cache).hear(
            [RecordingTask(path, {"language": "en", **options})]
        )[0]
        for model, way, options in _VOTES
    ]
    return " ".join(voted([tokens(each.text, "en") for each in heard]))


def voted(texts: Sequence[Sequence[str]]) -> list[str]:
    """What most of the texts have, word by word.

    They are laid against the one that is nearest to all others. In each of its places the commonest word stands, or
    none; between its places what more than half of the texts have there.
    """
    lines = [" ".join(text) for text in texts]
    nearest = min(lines, key=lambda line: sum(_distance(line, other) for other in lines))
    base = nearest.split()
    places: list[list[str]] = [[word] for word in base]
    between: list[list[str]] = [[] for _ in range(len(base) + 1)]
    others = list(lines)
    others.remove(nearest)
    for line in others:
        words = line.split()
        for chunk in jiwer.process_words(nearest, line).alignments[0]:
            said, wrote = range(chunk.ref_start_idx, chunk.ref_end_idx), words[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "insert":
                between[chunk.ref_start_idx].append(" ".join(wrote))
                continue
            for at, place in enumerate(said):
                places[place].append(wrote[at] if at < len(wrote) else "")
    result: list[str] = []
    for at, gap in enumerate(between):
        if gap and (common := Counter(gap).most_common(1)[0])[1] > len(texts) / 2:
            result += common[0].split()
        if at < len(places):
            result += Counter(places[at]).most_common(1)[0][0].split()
    return result


def _distance(said: str, written: str) -> int:
    if not said or not written:
        return len((said or written).split())
    aligned = jiwer.process_words(said, written)
    return int(aligned.substitutions + aligned.deletions + aligned.insertions)
