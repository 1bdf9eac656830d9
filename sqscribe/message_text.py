# SPDX-License-Identifier: Apache-2.0
"""From the text of a message to its fields, and words for who has sent something else."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

from sqscribe.json_faults import json_fault, place

__all__ = ["BLANKS", "Fields", "MessageTextError", "read_fields"]

#: What may stand around a message: byte order marks, and what editors and shells leave.
BLANKS = "\ufeff \t\r\n"

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
#: A string of JSON, or a number that is none.
_CONSTANT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|NaN|-?Infinity', re.DOTALL)
#: UTF-16 and UTF-8 with a mark, read as Latin-1.
_MARKS = ("ÿþ", "þÿ", "ï»¿")
#: Characters of a text that are looked into.
_LOOKED_INTO = 256
_GUESSES = (
    (re.compile("<"), ": it looks like XML or HTML"),
    (re.compile("['\"\u2018-\u201f\u00ab]"), ": it is in quotes; send it without them"),
    (
        re.compile(r"(/|~|\.{1,2}/|[A-Za-z]:[\\/]|\\\\)\S"),
        ": it looks like a path; upload the file and send its address (s3:// or https://)",
    ),
    (re.compile(r"[\w-]+(\.[\w-]+)+/\S*$"), "; put https:// before it if it is an address"),
    (re.compile(r"\w+=\S*$"), ": it looks like a form's fields; send JSON"),
    (re.compile(r"(---|- |\w+:\s)"), ": it looks like YAML; send JSON"),
)


class MessageTextError(ValueError):
    """The text is no message; says what it is and what to do, after "the message". Shows nothing of its values."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object.

    Attributes:
        twice: A name that some object in it has more than once; None if there is none.
    """

    content: dict[str, Any]
    twice: str | None = None


class _ConstantError(ValueError):
    """NaN, or an infinity."""


def read_fields(text: str) -> Fields:
    """The JSON object of a text.

    Raises:
        MessageTextError: It is none.
    """
    twice: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(items)
        if len(content) < len(items) and not twice:
            seen: set[str] = set()
            twice.append(next(name for name, _ in items if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
        return content

    try:
        content = json.loads(text.strip(BLANKS), object_pairs_hook=pairs, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise MessageTextError(_unreadable(text, error)) from None
    except _ConstantError as error:
        raise MessageTextError(f"is no JSON ({_constant_place(text)}: {error} is no number of JSON)") from None
    except RecursionError:
        raise MessageTextError("is JSON with too many lists or objects inside one another") from None
    except ValueError:  # https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
        raise MessageTextError("is JSON with a number of thousands of digits") from None
    if not isinstance(content, dict):
        raise MessageTextError(f"is {_kind(content)}")
    return Fields(content, twice[0] if twice else None)


def _refuse(name: str) -> Any:
    raise _ConstantError(name)


def _constant_place(text: str) -> str:
    found = next(match for match in _CONSTANT.finditer(text) if not match[0].startswith('"'))
    return place(text, found.start())


def _unreadable(text: str, error: json.JSONDecodeError) -> str:
    stripped = text.strip(BLANKS)
    lead = len(text) - len(text.lstrip(BLANKS))
    if not stripped:
        return "is empty; send a JSON object or a URL"
    if "\0" in stripped or stripped.startswith(_MARKS):
        return "is text in another encoding (UTF-16?); send UTF-8 without a byte order mark"
    if stripped[0] in "{[":
        whole = json.JSONDecodeError(error.msg, text, error.pos + lead)
        return f"is no JSON ({json_fault(text, whole)})"
    return f"is neither a JSON object nor a URL{_guess(stripped)}"


def _guess(text: str) -> str:
    """What a text may be that is neither JSON nor a URL."""
    if _BASE64.fullmatch(text) and _decodes(text):
        return ", but the Base64 of one; send it as it is"
    return next((said for pattern, said in _GUESSES if pattern.match(text[:_LOOKED_INTO])), "")


def _decodes(text: str) -> bool:
    """Whether the Base64 begins as a message does."""
    head = text[:_LOOKED_INTO].rstrip("=")
    head = head[: len(head) // 4 * 4]
    try:
        plain = base64.b64decode(head.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        return False
    return re.match(rb'\s*(\{\s*"|\[\s*\{|(https?|s3)://)', plain) is not None


def _kind(content: Any) -> str:
    """What JSON there is in place of an object, and what to do."""
    match content:
        case list():
            return "a list, not an object; send each job as a message of its own"
        case str() if content.strip(BLANKS).startswith("{"):
            return "JSON inside a JSON string (it was encoded twice); send the object itself"
        case str():
            return "a JSON string, not an object; send a URL without the quotes"
        case None | bool():
            return f"{json.dumps(content)}, not a JSON object"
        case _:
            return "a number, not a JSON object"
