# SPDX-License-Identifier: Apache-2.0
"""Texts that are no message are told apart, with the place of the mistake and without what they hold."""

from __future__ import annotations

import base64
import json

import pytest

from sqscribe.message_text import MessageTextError, read_fields

SECRET = "s3cr3t"
URL = f"https://example.org/talk.mp3?token={SECRET}"
MESSAGE = json.dumps({"source": URL, "language": "en"})


def refusal(text: str) -> str:
    with pytest.raises(MessageTextError) as caught:
        read_fields(text)
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f'{{"source": "{URL}",}}', "line 1, column 56: a comma is before '}'; leave it out"),
        (f'{{"source": "{URL}",\n "formats": ["srt", ]}}', "line 2, column 21: a comma is before ']'"),
        (f"{{'source': '{URL}'}}", "line 1, column 2: single quotes are no JSON; use double quotes"),
        (f"{{\"source\": '{URL}'}}", "line 1, column 12: single quotes"),
        (f"{{“source”: “{URL}”}}", "typographic quotes"),
        (f'{{source: "{URL}"}}', "column 2: a name without quotes"),
        (f'{{"source": "{URL}", "vad": False}}', "False is no JSON; JSON writes false"),
        (f'{{"source": "{URL}", "language": None}}', "None is no JSON; JSON writes null"),
        (f'{{"source": "{URL}" "language": "en"}}', "a comma, or the end of the list or object, is missing; '\"'"),
        (f'{{"source" "{URL}"}}', "a colon is missing; '\"' is there"),
        (f'{{"source" = "{URL}"}}', "a colon is missing; '=' is there"),
        ('{"source": }', "a value (in double quotes, if it is a text) is missing; '}' is there"),
        (f'{{"source": {URL}}}', "a value (in double quotes, if it is a text) is missing; 'h' is there"),
        (f'{{"source": "{URL}", // why\n "vad": true}}', "JSON has no comments"),
        (f'{{"source": "{URL}"', "the text ends in the middle of the JSON; was it cut off?"),
        (f'{{"source": "{URL}', "line 1, column 12: the string that begins here has no end"),
        ('{"source": "https://example.org/\na"}', "line 1, column 33: a line break or another control character"),
        ('{"initial_prompt": "C:\\dir"}', "a backslash begins no escape of JSON"),
        (f"{MESSAGE}\n{MESSAGE}", "line 2, column 1: the JSON has ended, but '{' follows; send each job"),
        ('\n\n  {"start": NaN}', "line 3, column 13: NaN is no number of JSON"),
        ('{"a": "NaN \\" -Infinity", "start": -Infinity}', "line 1, column 36: -Infinity"),
        ('{"start": 1' + "0" * 5000 + "}", "a number of thousands of digits"),
        ("[" * 100_000, "too many lists or objects inside one another"),
        (f"[{MESSAGE}]", "is a list, not an object; send each job as a message of its own"),
        (json.dumps(MESSAGE), "is JSON inside a JSON string (it was encoded twice)"),
        (json.dumps(URL), "is a JSON string, not an object; send a URL without the quotes"),
        ("null", "is null, not a JSON object"),
        ("true", "is true, not a JSON object"),
        ("17", "is a number, not a JSON object"),
        ("", "is empty"),
        ("\ufeff \n", "is empty"),
        (base64.b64encode(MESSAGE.encode()).decode(), "the Base64 of one; send it as it is"),
        (base64.urlsafe_b64encode(URL.encode()).decode(), "the Base64 of one; send it as it is"),
        (MESSAGE.encode("utf-16-le").decode("latin-1"), "another encoding (UTF-16?)"),
        (MESSAGE.encode("utf-16").decode("latin-1"), "another encoding (UTF-16?)"),
        (MESSAGE.encode("utf-8-sig").decode("latin-1"), "another encoding"),
        (f"'{URL}'", "it is in quotes"),
        (f"“{URL}”", "it is in quotes"),
        ("example.org/talk.mp3", "put https:// before it"),
        ("/home/me/talk.mp3", "it looks like a path"),
        ("C:\\talks\\talk.mp3", "it looks like a path"),
        (f"source: {URL}\nlanguage: en", "it looks like YAML"),
        (f"source={URL}", "it looks like a form's fields"),
        ("<job/>", "it looks like XML or HTML"),
        ("hello", "is neither a JSON object nor a URL"),
    ],
)
def test_what_is_no_message_is_named_with_the_place_and_what_to_do(text: str, why: str) -> None:
    assert why in refusal(text)


def test_marks_and_blanks_around_a_message_do_not_matter() -> None:
    assert read_fields(f"\ufeff \r\n{MESSAGE}\r\n").content == json.loads(MESSAGE)


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ('{"a": 1, "b": 2}', None),
        ('{"a": 1, "b": 2, "a": 1}', "a"),
        ('{"a": {"x": 1, "x": 2}, "b": {"x": 1}}', "x"),
        ("{" + ",".join(f'"{n}": 1' for n in range(50_000)) + ', "49999": 2}', "49999"),
    ],
)
def test_a_name_that_is_there_twice_is_noticed(text: str, twice: str | None) -> None:
    assert read_fields(text).twice == twice


@pytest.mark.parametrize("cut", range(1, len(MESSAGE)))
def test_a_message_that_was_cut_off_anywhere_is_said_to_be(cut: int) -> None:
    why = refusal(MESSAGE[:cut])

    assert "cut off" in why or "is no JSON" in why
    assert "line 1, column" in why
