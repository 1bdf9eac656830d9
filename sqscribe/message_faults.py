# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a job message, in words for whoever sent it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

__all__ = ["fault_text", "shown"]


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
            near = get_close_matches(str(fault["loc"][-1]), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{shown(place)}: unknown field{hint}"
        case "value_error":
            text = str(fault["ctx"]["error"])
            return f"{place}: {text}" if place else text
        case _:
            text = fault["msg"][0].lower() + fault["msg"][1:]
            given = "" if fault["type"].startswith("string_too") else f", not {_kind(fault['input'])}"
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
    """A stranger's value, escaped and short enough for a message."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"  # repr() refuses integers of more than 4,300 digits
    text = repr(value)
    return text if len(text) <= 64 else f"{text[:60]}…"
