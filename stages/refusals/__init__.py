# SPDX-License-Identifier: Apache-2.0
"""What a refusal of SQS, S3 and their look-alikes means: one table for every call that a worker makes.

`codes` says what each error code means, `owners` whose it is then, `reading` reads an answer, and `source` has the
errors of objects that a message names as its source. The documentation has the table too, checked against this one.
"""

from __future__ import annotations

from stages.refusals.codes import CODES, Meaning, meaning_of
from stages.refusals.owners import OWNERS, Call, Named, Owner, owner_of
from stages.refusals.reading import Refusal, code_name, read, words
from stages.refusals.source import broken_off, source_error

__all__ = [
    "CODES",
    "OWNERS",
    "Call",
    "Meaning",
    "Named",
    "Owner",
    "Refusal",
    "broken_off",
    "code_name",
    "meaning_of",
    "owner_of",
    "read",
    "source_error",
    "words",
]
