# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a job message, in words for whoever sent it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from sqscribe.urls import redact

__all__ = ["fault_text", "shown"]

#: Faults whose text says what was given.
_TOLD = frozenset({"string_too_long", "string_too_short", "too_long", "too_short"})
#: What other programs call a field.
_SYNONYMS = {
    "source": "url uri file path audio audio_url media media_url input s3_url s3_uri bucket key",
    "job_id": "id",
    "initial_prompt": "prompt",
    "word_timestamps": "words timestamps",
    "hotwords": "keywords keyterms vocabulary",
    "output": "destination output_bucket output_prefix",
    "start": "from offset",
    "end": "to",
    "force": "overwrite",
    "webhook": "callback callback_url",
    "track": "audio_track stream stream_index",
    "channels": "channel multichannel",
}
_FIELD = {synonym: field for field, synonyms in _SYNONYMS.items() for synonym in synonyms.split()}


def _meant(name: str, known: list[str]) -> str | None:
    """The known field that somebody who wrote `name` most likely means."""
    field = _FIELD.get(name)
    return field if field in known else next(iter(get_close_matches(name, known, n=1)), None)


def fault_text(fault: ErrorDetails, known: Iterable[str]) -> str:
    """One of pydantic's faults as `field: what is wrong`. Shows names and types, never a value of a text field.

    Args:
        fault: As pydantic gives it.
        known: Names of the fields that there are, for who has misspelt one.
    """
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).removeprefix(".")
    match fault["type"]:
        case "missing":
            return f"{place}: is required"
        case "extra_forbidden":
            meant = _meant(str(fault["loc"][-1]).lower(), list(known))
            return f"{shown(place)}: unknown field" + (f"; did you mean {meant!r}?" if meant else "")
        case "value_error":
            text = str(fault["ctx"]["error"])
            return f"{place}: {text}" if place else text
        case _:
            text = fault["msg"][0].lower() + fault["msg"][1:]
            given = "" if fault["type"] in _TOLD else f", not {_kind(fault['input'])}"
            return f"{place}: {text}{given}"


def _kind(value: Any) -> str:
    """A JSON value's type, or the value where it cannot hold a secret."""
    match value:
        case None | bool():
            return json.dumps(value)
        case int() | float():
            return shown(value)
        case str():
            return "a string" if len(value) > 20 or not value.isalnum() else shown(value)
        case list():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return type(value).__name__


def shown(value: object) -> str:
    """A stranger's value, escaped and short enough for a message; of a URL, only what is no secret."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"  # repr() refuses integers of more than 4,300 digits
    text = repr(redact(value) if isinstance(value, str) and "://" in value else value)
    return text if len(text) <= 64 else f"{text[:60]}…"
