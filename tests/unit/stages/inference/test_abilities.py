# SPDX-License-Identifier: Apache-2.0
"""Worker and engine refuse by one rule, in the same words."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.job import Job
from sqscribe.tuning import Tuning
from stages.inference.abilities import inability
from stages.inference.engine.rows import JobRefused
from stages.inference.protocol import DecodeOptions, EngineInfo
from stages.inference.request import check_options
from stages.inference.whisper.decoder import WhisperDecoder

FULL = EngineInfo(
    name="large-v3",
    revision="r",
    device="cpu",
    compute_type="int8",
    languages=("en", "de", "fr"),
    can_translate=True,
    can_align=True,
    batch_size=8,
    startup_seconds=1.0,
)
ENGLISH = replace(FULL, name="tiny.en", languages=("en",), can_translate=False)
MANY = replace(FULL, languages=tuple(f"l{number}" for number in range(9)))

#: Cannot say which of its languages is spoken.
DEAF = replace(FULL, detects_language=False)

REFUSED: list[tuple[EngineInfo, dict[str, Any], str]] = [
    (ENGLISH, {"task": "translate"}, "task: model tiny.en cannot translate"),
    (ENGLISH, {"language": "multi"}, "language: model tiny.en knows en alone"),
    (ENGLISH, {"language": "de"}, "language: model tiny.en does not know 'de'; it knows en"),
    (FULL, {"candidates": ("yue", "de", "xx")}, "languages: model large-v3 does not know 'yue', 'xx'; it"),
    (ENGLISH, {"candidates": ("en", "de")}, "languages: model tiny.en does not know 'de'; it knows en"),
    (DEAF, {"language": None}, "language: model large-v3 cannot tell which language is spoken; name one"),
    (DEAF, {"language": "multi"}, "language: model large-v3 cannot tell which language is spoken; name one"),
    (MANY, {"language": "xx"}, "it knows l0, l1, l2, l3, l4, l5, l6, l7 …"),
]


def job(candidates: tuple[str, ...] = (), **options: Any) -> Job:
    tuning = Tuning(languages=candidates)
    return Job(source="https://x.test/a", job_id="job", output="s3://results/out", tuning=tuning, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"language": "de"}, {"language": "multi", "candidates": ("de", "en")}, {"task": "translate"}],
)
def test_a_full_model_is_asked_for_anything(options: dict[str, Any]) -> None:
    check_options(job(word_timestamps=True, **options), FULL)


@pytest.mark.parametrize(("info", "options", "why"), REFUSED)
def test_the_worker_refuses_before_it_fetches(info: EngineInfo, options: dict[str, Any], why: str) -> None:
    with pytest.raises(PermanentError) as refused:
        check_options(job(**options), info)
    assert refused.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert why in refused.value.message


@pytest.mark.parametrize(("info", "options", "why"), REFUSED)
def test_the_decoder_refuses_in_the_same_words(info: EngineInfo, options: dict[str, Any], why: str) -> None:
    asked = {"language": None, "task": "transcribe"} | options
    wanted = DecodeOptions(initial_prompt=None, hotwords=None, beam_size=5, **asked)

    refused = WhisperDecoder.open(
        SimpleNamespace(_info=info),  # type: ignore[arg-type]  # a refusal looks at nothing else
        "key",
        "audio.pcm",
        wanted,
    )

    assert refused == JobRefused(ErrorCode.UNSUPPORTED_OPTION, inability(info, wanted) or "")
    assert why in refused.message


def test_words_without_alignment_heads_are_refused() -> None:
    with pytest.raises(PermanentError, match="word_timestamps: model distil has no alignment heads"):
        check_options(job(word_timestamps=True), replace(FULL, name="distil", can_align=False))


UNSUPPORTED = (
    "initial_prompt",
    "hotwords",
    "temperature",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "suppress_numerals",
)


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("initial_prompt", {"initial_prompt": "names"}),
        ("hotwords", {"hotwords": "names"}),
        ("temperature", {"tuning": Tuning(temperature=(0.0,))}),
        ("no_repeat_ngram_size", {"tuning": Tuning(no_repeat_ngram_size=3)}),
        ("repetition_penalty", {"tuning": Tuning(repetition_penalty=1.1)}),
        ("suppress_numerals", {"tuning": Tuning(suppress_numerals=True)}),
    ],
)
def test_options_that_an_engine_has_no_use_for_are_refused_by_name(field: str, asked: dict[str, Any]) -> None:
    plain = Job(source="https://x.test/a", job_id="job", output="s3://results/out")
    bare = replace(FULL, name="transducer", unsupported=UNSUPPORTED)

    check_options(plain, bare)
    check_options(replace(plain, **asked), FULL)
    with pytest.raises(PermanentError, match=f": {field}: model transducer has no use for it") as refused:
        check_options(replace(plain, **asked), bare)

    assert refused.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_a_model_that_cannot_tell_languages_takes_a_job_that_names_one_and_one_of_its_only_language() -> None:
    check_options(job(language="de"), DEAF)
    check_options(job(), replace(DEAF, languages=("en",)))
