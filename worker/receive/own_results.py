# SPDX-License-Identifier: Apache-2.0
"""Objects that a worker wrote: results are no recordings, whoever's they are.

Several workers may watch one bucket, each under a prefix of its own. The results of one are news to the others, so
what an event announces is also looked at by name. A message that names such an object as its source is not asked.
"""

from __future__ import annotations

import re

from sqscribe.formats import ARTIFACTS
from sqscribe.job import JOB_ID
from sqscribe.job_message import LATER_FORMATS

__all__ = ["is_result"]

#: Names below `<output>/<job_id>/`. None of them is a name that media have.
_NAMES = frozenset(
    {kind.name for kind in ARTIFACTS.values()}
    | {f"transcript.{name}" for name in LATER_FORMATS}
    | {"result.json", "partial.json", "message.txt"}
)
#: What a worker writes at its start and removes again, to see whether it may.
_TRIAL = ".sqscribe-"
_CHECKPOINT = re.compile(rf"(?:.*/)?{JOB_ID.pattern}/checkpoint/(?:[^/]+/)?[^/]+\.json", re.DOTALL)


def is_result(key: str) -> bool:
    """Whether a key is named as what workers write: `…/<job_id>/transcript.srt`, `…/<job_id>/checkpoint/…`."""
    folder, _, name = key.rpartition("/")
    if name.startswith(_TRIAL):
        return True
    if name in _NAMES:
        return JOB_ID.fullmatch(folder.rpartition("/")[2]) is not None
    return _CHECKPOINT.fullmatch(key) is not None
