# SPDX-License-Identifier: Apache-2.0
"""The options that tune how text is looked for: what is taken, what is refused, what of it is in the job's id."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from sqscribe.errors import ErrorCode
from sqscribe.job import Job, JobDefaults, JobMessageError, derived_job_id
from sqscribe.job_message import parse_job
from sqscribe.tuning import Tuning, VadTuning

DEFAULTS = JobDefaults("s3://results/out")
URL = "https://example.org/talk.mp3"


def parsed(**fields: Any) -> Job:
    return parse_job({"source": URL, **fields}, DEFAULTS)


def digest(**shaping: Any) -> str:
    canonical = json.dumps({"source": URL, **shaping}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def test_every_field_is_taken_over() -> None:
    job = parsed(
        temperature=[0, 0.5, 0.2, 0.5],
        no_repeat_ngram_size=3,
        repetition_penalty=2,
        suppress_numerals=True,
        languages=["pt", "de", "pt"],
        vad={"threshold": 0.6, "min_silence": 2, "pad": 0.1},
        level=False,
        max_window=12,
    )

    assert job.vad is True
    assert job.tuning == Tuning(
        temperature=(0.0, 0.5, 0.2),
        no_repeat_ngram_size=3,
        repetition_penalty=2.0,
        suppress_numerals=True,
        languages=("pt", "de"),
        vad=VadTuning(0.6, 2.0, 0.1),
        level=False,
        max_window=12.0,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": None, "no_repeat_ngram_size": None, "repetition_penalty": None},
        {"languages": None, "max_window": None},
        {"temperature": [0, 0.2, 0.4, 0.6, 0.8, 1], "no_repeat_ngram_size": 0, "repetition_penalty": 1},
        {"suppress_numerals": False, "vad": {}, "level": True, "max_window": 30},
        {"vad": {"threshold": 0.5, "min_silence": 1, "pad": 0.4}},
    ],
)
def test_a_default_that_is_named_makes_the_same_job(fields: dict[str, Any]) -> None:
    job = parsed(**fields)

    assert job == parsed()
    assert job.job_id == derived_job_id(URL)
    assert job.body() == parsed().body()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"temperature": -0.1}, "temperature: input should be greater than or equal to 0"),
        ({"temperature": 1.1}, "temperature: input should be less than or equal to 1"),
        ({"temperature": "0"}, "temperature: input should be a valid number"),
        ({"temperature": True}, "temperature: input should be a valid number, not true"),
        ({"temperature": []}, "temperature: list should have at least 1 item"),
        ({"temperature": [0.1] * 11}, "temperature: list should have at most 10 items"),
        ({"temperature": [0, 2]}, "temperature[1]: input should be less than or equal to 1, not 2"),
        ({"temperature": float("nan")}, "temperature: input should be"),
        ({"temperature": 10**400}, "temperature: "),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size: "),
        ({"no_repeat_ngram_size": 101}, "no_repeat_ngram_size: "),
        ({"no_repeat_ngram_size": 2.0}, "no_repeat_ngram_size: input should be a valid integer"),
        ({"repetition_penalty": 0}, "repetition_penalty: "),
        ({"repetition_penalty": float("inf")}, "repetition_penalty: "),
        ({"repetition_penalty": "1"}, "repetition_penalty: "),
        ({"suppress_numerals": 1}, "suppress_numerals: input should be a valid boolean, not 1"),
        ({"languages": "de"}, "languages: input should be a valid list"),
        ({"languages": []}, "languages: list should have at least 1 item"),
        ({"languages": ["de", "german"]}, "languages[1]: 'german' is no Whisper language code; did you mean 'de'?"),
        ({"languages": ["multi"]}, "languages[0]: 'multi' is no Whisper language code"),
        ({"languages": ["de"], "language": "de"}, "languages: are candidates for detection"),
        ({"vad": 1}, "vad: input should be a valid boolean, not 1"),
        ({"vad": []}, "vad: input should be a valid boolean, not a list"),
        ({"vad": {"threshold": 1.5}}, "vad.threshold: input should be less than or equal to 1, not 1.5"),
        ({"vad": {"threshold": None}}, "vad.threshold: input should be a valid number, not null"),
        ({"vad": {"min_silence": 2000}}, "vad.min_silence: input should be less than or equal to 60, not 2000"),
        ({"vad": {"pad": 400}}, "vad.pad: input should be less than or equal to 10, not 400"),
        ({"vad": {"pad": -1}}, "vad.pad: "),
        ({"vad": {"window": 1}}, "'vad.window': unknown field"),
        ({"level": None}, "level: input should be a valid boolean, not null"),
        ({"level": "no"}, "level: input should be a valid boolean"),
        ({"max_window": 4.9}, "max_window: input should be greater than or equal to 5"),
        ({"max_window": 31}, "max_window: input should be less than or equal to 30"),
        ({"max_window": "10"}, "max_window: input should be a valid number"),
    ],
)
def test_a_bad_message_names_the_field_and_why(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(JobMessageError) as caught:
        parsed(**fields)

    assert caught.value.code is ErrorCode.BAD_MESSAGE
    assert named in caught.value.message


def test_candidates_go_with_multi() -> None:
    job = parsed(language="multi", languages=["de", "en"])

    assert (job.language, job.tuning.languages) == ("multi", ("de", "en"))


@pytest.mark.parametrize(
    ("fields", "shaping"),
    [
        ({"temperature": 0.0}, {"temperature": 0}),
        ({"temperature": [0]}, {"temperature": 0}),
        ({"temperature": [0, 0.4, 1.0]}, {"temperature": [0, 0.4, 1]}),
        ({"no_repeat_ngram_size": 3}, {"no_repeat_ngram_size": 3}),
        ({"repetition_penalty": 1.2}, {"repetition_penalty": 1.2}),
        ({"suppress_numerals": True}, {"suppress_numerals": True}),
        ({"languages": ["pt", "de"]}, {"languages": ["pt", "de"]}),
        ({"vad": {"threshold": 0.6, "pad": 0.4}}, {"vad": {"threshold": 0.6}}),
        ({"vad": {"min_silence": 2.0}}, {"vad": {"min_silence": 2}}),
        ({"vad": False}, {"vad": False}),
        ({"level": False}, {"level": False}),
        ({"max_window": 12.0, "language": "de"}, {"max_window": 12, "language": "de"}),
    ],
)
def test_the_derived_id_holds_what_differs_from_the_default(fields: dict[str, Any], shaping: dict[str, Any]) -> None:
    assert parsed(**fields).job_id == digest(**shaping)
