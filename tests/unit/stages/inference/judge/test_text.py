# SPDX-License-Identifier: Apache-2.0
"""Texts that were never spoken."""

from __future__ import annotations

import pytest

from stages.inference.judge.text import echoes_prompt, is_repetition, is_too_fast


@pytest.mark.parametrize(
    ("text", "seconds", "expected"),
    [
        ("Thank you. " * 14, 1.5, True),
        ("Thank you. " * 14, 20.0, False),  # there was time to say it
        ("no no no no", 0.3, False),  # people do
        ("one two three four five six seven eight nine ten", 0.5, False),  # fast, but nothing repeats
        ("ご視聴ありがとうございました" * 8, 2.0, True),
        ("And then, we went on and on. " + "la " * 30, 3.0, True),
        ("", 0.0, False),
    ],
)
def test_repetition(text: str, seconds: float, expected: bool) -> None:
    assert is_repetition(text, seconds) is expected


SHOW = "Hello, welcome to the show. Today we will talk about news."


@pytest.mark.parametrize(
    ("text", "prompt", "expected"),
    [
        ("Glossary: SQS, S3, Whisper", "glossary, sqs, s3, whisper", True),
        ("sqs s3 whisper batch", "Glossary: SQS, S3, Whisper, batch, window, beam.", True),
        ("a b c d e a b c d e", "A, b, c, d, e.", True),  # over and over
        ("today we will talk about news and we will talk about news", SHOW, True),
        ("about news hello welcome to the show", SHOW, True),  # its end, then its start
        ("it was cold. " * 5 + "Hello, welcome to the show. We will talk about news.", SHOW, True),  # mixed in
        ("it was cold. " * 5 + "Hello, welcome to the show.", SHOW, False),  # five words: someone said them
        ("it was cold. " * 15 + "Hello, welcome to the show. We will talk about news.", SHOW, False),  # in much text
        ("we talk about the news of today", SHOW, False),  # its words, and none of its runs
        ("We put it on SQS and then into S3 with Whisper", "Glossary: SQS, S3, Whisper", False),
        ("whisper", "Glossary: SQS, S3, Whisper", False),  # a word of the prompt may well be said
        ("", "Glossary", False),
        ("Hello there my friends", "", False),
    ],
)
def test_prompt_echo(text: str, prompt: str, expected: bool) -> None:
    assert echoes_prompt(text, prompt) is expected


def test_more_words_than_speech_has_room_for_are_too_fast() -> None:
    assert not is_too_fast("so " * 40, 5.0)
    assert not is_too_fast("so " * 45, 5.0), "some may come besides"
    assert is_too_fast("so " * 46, 5.0)
    assert not is_too_fast("", 0.0)
