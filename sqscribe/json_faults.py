# SPDX-License-Identifier: Apache-2.0
"""Where a text stops being JSON, and what people mean who write such a text."""

from __future__ import annotations

import json
import re

__all__ = ["json_fault", "place"]

_OTHER_LANGUAGES = (
    (re.compile("'"), "single quotes are no JSON; use double quotes"),
    # Quotation marks and guillemets, left and right, single and double
    (re.compile("[\u2018-\u201f\u00ab\u00bb]"), "typographic quotes are no JSON; use plain double quotes"),
    (re.compile("#|//|/[*]"), "JSON has no comments; leave it out"),
)
_NAME = re.compile(r"[^\W\d]\w*")
#: What JavaScript and Python write and JSON does not.
_WORDS = {
    "True": "JSON writes true",
    "False": "JSON writes false",
    "None": "JSON writes null",
    "undefined": "leave the field out",
    "nil": "JSON writes null",
    "NULL": "JSON writes null",
    "TRUE": "JSON writes true",
    "FALSE": "JSON writes false",
}


def json_fault(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong at the place where the parser stopped, and what to do.

    Shows one character of the text at most: the rest may be a secret.

    Args:
        text: What was read.
        error: What `json.loads` said of it.
    """
    return f"{place(text, error.pos)}: {_what(text, error)}"


def place(text: str, position: int) -> str:
    """A position as people count."""
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _what(text: str, error: json.JSONDecodeError) -> str:
    message, at = error.msg, error.pos
    if message.startswith("Unterminated string"):
        return "the string that begins here has no end: a quote is missing, or the text was cut off"
    if message.startswith("Invalid control character"):
        return "a line break or another control character is in a string; write \\n, \\t or \\u00XX"
    if message.startswith("Invalid \\"):
        return "a backslash begins no escape of JSON; write \\\\ for a backslash"
    if message.startswith("Extra data"):
        return f"the JSON has ended, but {_shown(text, at)} follows; send each job as a message of its own"
    if not text[at:].strip():
        return "the text ends in the middle of the JSON; was it cut off?"
    return _misplaced(text, at, message)


def _misplaced(text: str, at: int, message: str) -> str:
    """What is at a place where something else is expected."""
    rest = text[at:]
    if rest[0] == "," and rest[1:].lstrip()[:1] in {"}", "]"}:  # Python 3.13 points at the comma, not behind it
        rest = rest[1:].lstrip()
    elif not (rest[0] in "}]" and text[:at].rstrip().endswith(",")):
        return _known(rest, message) or f"{_expected(message)} is missing; {_shown(text, at)} is there"
    return f"a comma is before {rest[0]!r}; leave it out"


def _known(rest: str, message: str) -> str | None:
    """What other languages write so."""
    for pattern, text in _OTHER_LANGUAGES:
        if pattern.match(rest):
            return text
    word = _NAME.match(rest)
    if word and word[0] in _WORDS:
        return f"{word[0]} is no JSON; {_WORDS[word[0]]}"
    return "a name without quotes is no JSON; write it in double quotes" if word and "property" in message else None


def _expected(message: str) -> str:
    if "property name" in message:
        return "a name in double quotes"
    if "':'" in message:
        return "a colon"
    if "','" in message:
        return "a comma, or the end of the list or object,"
    return "a value (in double quotes, if it is a text)"


def _shown(text: str, at: int) -> str:
    rest = text[at:].lstrip()
    return repr(rest[0]) if rest else "nothing"
