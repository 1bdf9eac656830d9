# SPDX-License-Identifier: Apache-2.0
"""Published models, however people spell their names."""

from __future__ import annotations

import pytest
from faster_whisper.utils import _MODELS

from stages.inference.whisper.known_models import KNOWN_LANGUAGES, english_is_known, known_languages

ENGLISH_ONLY = [
    "tiny.en",
    "openai/whisper-small.en",
    "Systran/faster-whisper-medium.en",
    "guillaumekln/faster-whisper-base.en",
    "distil-large-v3",
    "distil-large-v3.5",
    "distil-whisper/distil-large-v3",
    "distil-whisper/distil-large-v3-ct2",
    "distil-whisper/distil-large-v3.5-ct2",
    "Systran/faster-distil-whisper-large-v2",
    "Systran/faster-distil-whisper-large-v3",
    "Systran/faster-distil-whisper-medium.en",
    "systran/Faster-Distil-Whisper-Large-V3",
    "deepdml/faster-distil-whisper-large-v3.5",
    "/models/faster-distil-whisper-large-v3",
    "./faster-distil-whisper-large-v3/",
    "s3://models/asr/distil-whisper-large-v3-int8_float16/",
    "/cache/hub/models--Systran--faster-distil-whisper-large-v3/snapshots/c3058b475261292e64a0412df1d2681c06260fab",
]
OF_ALL_LANGUAGES = [
    "tiny",
    "large",
    "turbo",
    "large-v3-turbo",
    "openai/whisper-large-v3-turbo",
    "Systran/faster-whisper-large-v3",
    "deepdml/faster-whisper-large-v3-turbo-ct2",
    "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "dropbox-dash/faster-whisper-large-v3-turbo",
]
UNKNOWN = [
    "",
    "/",
    "/models/asr",
    "whisper",
    "bofenghuang/whisper-large-v3-french-distil-dec2",
    "primeline/whisper-large-v3-turbo-german",
    "someone/faster-whisper-large-v3-german",
]


@pytest.mark.parametrize("name", ENGLISH_ONLY)
def test_a_model_of_english_alone_is_known_in_every_spelling(name: str) -> None:
    assert known_languages(name) == ("en",)


@pytest.mark.parametrize("name", [*OF_ALL_LANGUAGES, *UNKNOWN])
def test_others_are_what_their_files_say(name: str) -> None:
    assert known_languages(name) is None


def test_models_of_other_languages_are_known_too() -> None:
    assert known_languages("kotoba-tech/kotoba-whisper-v2.0-faster") == ("ja",)
    assert known_languages("kotoba-tech/kotoba-whisper-bilingual-v1.0-faster") == ("en", "ja")


def test_any_of_several_names_will_do() -> None:
    assert known_languages("/scratch/model", "s3://models/faster-distil-whisper-large-v3") == ("en",)


def test_every_name_that_faster_whisper_takes_is_in_the_table() -> None:
    assert [name for name in (*_MODELS, *_MODELS.values()) if not english_is_known(name)] == []


@pytest.mark.parametrize("name", [*UNKNOWN, "someone/faster-whisper-base", "/models/base", "s3://models/whisper-base"])
def test_a_name_that_its_owner_gave_proves_no_english(name: str) -> None:
    assert not english_is_known(name)


def test_a_model_that_was_trained_for_another_language_need_not_understand_english() -> None:
    assert not english_is_known("kotoba-v2.0")


def test_the_table_is_in_plain_names() -> None:
    assert {name: known_languages(name) for name in KNOWN_LANGUAGES} == KNOWN_LANGUAGES
