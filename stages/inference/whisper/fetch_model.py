# SPDX-License-Identifier: Apache-2.0
"""A program that brings a named model from the hub to its cache, and says as JSON what came of it.

A program, so that the libraries stay out of the process that starts it, and so that it can be called off at any time.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from itertools import count

from faster_whisper.utils import download_model
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

__all__: list[str] = []

#: What another try does not mend: there is no such thing, or it is not for everybody, or there is no place for it.
_FINAL = (GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError)


def _bring(name: str, revision: str | None) -> dict[str, object]:
    try:
        return {"folder": download_model(name, revision=revision)}
    except Exception as error:  # noqa: BLE001 - whatever the hub's client of the day raises
        told = list(_chain(error))
        # faster-whisper looks into the cache after any refusal, so that what the hub said stands behind that.
        final = next((each for each in told if isinstance(each, _FINAL) or _unwritable(each)), None)
        if final is None and constants.HF_HUB_OFFLINE:
            return {"final": True, "why": "it is not in the cache, and HF_HUB_OFFLINE forbids to ask the hub"}
        shown = final or told[-1]
        return {"final": final is not None, "why": f"{type(shown).__name__}: {' '.join(str(shown).split())}"}


def _unwritable(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.EACCES, errno.ENOTDIR, errno.EPERM, errno.EROFS}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came of, the first cause last."""
    cause: BaseException | None = error
    for _ in count():
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(_bring(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)))
