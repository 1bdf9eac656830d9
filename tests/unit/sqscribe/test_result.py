# SPDX-License-Identifier: Apache-2.0
"""`result.json` has the contract's keys and reads back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sqscribe.result import Artifact, Chapter, ErrorFacts, Media, ModelFacts, Result, Timings, WorkerFacts
from sqscribe.transcript import JobWarning

DONE = Result(
    job_id="talk",
    status="succeeded",
    source="s3://recordings/ä.wav",
    output="s3://results/out",
    language="de",
    duration=61.5,
    speech_duration=50.25,
    artifacts=(Artifact("json", "out/talk/transcript.json", 12, "ab" * 32),),
    model=ModelFacts("large-v3-turbo", "abc", "int8"),
    attempts=2,
    origin="m-1",
    timings=Timings(fetch=0.5, publish=0.1),
    worker=WorkerFacts("0.1.0", "node-1"),
    finished_at="2026-01-02T03:04:05.678Z",
    metadata={"row": [1, None, "ü"]},
    media=Media(
        title="Talk", upload_date="2026-01-02", duration=61.4, chapters=(Chapter(0.0, 30.5, "One"), Chapter(30.5))
    ),
    warnings=(JobWarning("speech_missing", "no words: 4.0-7.5 s"),),
)
FAILED = Result(
    job_id="talk",
    status="failed",
    source=None,
    output="s3://results/out",
    worker=WorkerFacts("0.1.0", "node-1"),
    finished_at="2026-01-02T03:04:05.678Z",
    error=ErrorFacts("bad_message", "source: is required"),
)


def test_it_has_the_keys_of_the_contract() -> None:
    record = json.loads(DONE.to_json())

    assert set(record) == {
        *("version", "job_id", "status", "source", "output", "language", "duration", "speech_duration", "artifacts"),
        *("model", "attempts", "origin", "timings", "worker", "finished_at", "metadata", "media", "warnings", "error"),
    }
    assert record["version"] == 1
    assert set(record["artifacts"][0]) == {"format", "key", "bytes", "sha256"}
    assert set(record["model"]) == {"name", "revision", "compute_type"}
    assert set(record["timings"]) == {"fetch", "decode", "segment", "wait", "inference", "publish"}
    assert set(record["worker"]) == {"version", "node"}
    assert record["metadata"] == {"row": [1, None, "ü"]}
    assert record["media"] == {
        "title": "Talk",
        "uploader": None,
        "upload_date": "2026-01-02",
        "duration": 61.4,
        "chapters": [{"start": 0.0, "end": 30.5, "title": "One"}, {"start": 30.5, "end": None, "title": None}],
        "webpage_url": None,
    }
    assert record["warnings"] == [{"code": "speech_missing", "message": "no words: 4.0-7.5 s"}]
    assert json.loads(FAILED.to_json())["warnings"] == []
    assert record["error"] is None
    assert json.loads(FAILED.to_json())["error"] == {"code": "bad_message", "message": "source: is required"}


@pytest.mark.parametrize("result", [DONE, FAILED])
def test_it_reads_back(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result


def test_a_result_from_before_there_were_warnings_has_none() -> None:
    record = json.loads(DONE.to_json())
    del record["warnings"]

    assert Result.from_json(json.dumps(record).encode()) == replace(DONE, warnings=())
    assert Result.from_json(json.dumps(record | {"warnings": None}).encode()).warnings == ()


def test_media_of_earlier_versions_have_no_chapters() -> None:
    record = json.loads(DONE.to_json())
    del record["media"]["chapters"], record["media"]["upload_date"]

    assert Result.from_json(json.dumps(record).encode()).media == Media(title="Talk", duration=61.4)


def test_keys_of_later_versions_are_ignored() -> None:
    record = json.loads(DONE.to_json()) | {"new": 1}
    record["warnings"][0]["new"] = record["artifacts"][0]["new"] = record["model"]["new"] = record["media"]["new"] = 1

    assert Result.from_json(json.dumps(record).encode()) == DONE


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"1", b"\xff", b'{"version": 2}', DONE.to_json().replace(b"succeeded", b"perhaps")],
)
def test_what_is_no_result_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own messages are among them
        Result.from_json(body)
