# SPDX-License-Identifier: Apache-2.0
"""Results of one worker are no jobs of another that watches the same bucket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sqscribe.formats import ARTIFACTS
from sqscribe.job import Job, JobDefaults
from worker.receive.messages import MessageParser, Parsed
from worker.receive.own_results import is_result

OTHERS = Job(source="s3://bucket/in/talk.mp3", job_id="talk-1", output="s3://bucket/theirs/deep")
WRITTEN = [
    *(OTHERS.url(kind.name) for kind in ARTIFACTS.values()),
    OTHERS.url("result.json"),
    OTHERS.url("partial.json"),
    OTHERS.url("message.txt"),
    "s3://bucket/theirs/deep/.sqscribe-preflight-1f2e3d",
    OTHERS.url("checkpoint/0a1b2c/manifest.json"),
    OTHERS.url("checkpoint/0a1b2c/0001-9f.json"),
    OTHERS.url("checkpoint/generation-1f2e3d-2.json"),
]


def record(url: str) -> dict[str, Any]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 9, "eTag": "e7a9"}},
    }


def parse(body: object) -> Parsed:
    return MessageParser(JobDefaults("s3://bucket/ours")).parse(json.dumps(body), "m-1")


@pytest.mark.parametrize("url", WRITTEN)
def test_what_another_worker_has_written_is_skipped_when_an_event_announces_it(url: str) -> None:
    bridge = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "bucket"}, "object": {"key": url.removeprefix("s3://bucket/"), "size": 9}},
    }

    assert parse({"Records": [record(url)]}) == Parsed(skipped=1)
    assert parse(bridge) == Parsed(skipped=1)


@pytest.mark.parametrize("url", WRITTEN)
def test_who_names_such_an_object_means_it(url: str) -> None:
    assert [job.source for job in parse({"source": url}).jobs] == [url]


@pytest.mark.parametrize(
    "key",
    [
        "in/talk.mp3",
        "talk-1/audio.wav",
        "transcript.srt",
        "a/transcript.mp3",
        "a/checkpoint/talk.wav",
        "-x/result.json",
    ],
)
def test_recordings_are_not_taken_for_results(key: str) -> None:
    assert not is_result(key)
    assert [job.source for job in parse({"Records": [record(f"s3://bucket/{key}")]}).jobs] == [f"s3://bucket/{key}"]


def test_recordings_among_results_are_jobs() -> None:
    parsed = parse({"Records": [record(url) for url in ["s3://bucket/in/a.mp3", *WRITTEN, "s3://bucket/in/b.mp3"]]})

    assert [job.source for job in parsed.jobs] == ["s3://bucket/in/a.mp3", "s3://bucket/in/b.mp3"]
    assert parsed.skipped == len(WRITTEN)
