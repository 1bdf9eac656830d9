# SPDX-License-Identifier: Apache-2.0
"""Every scheme of the one list is taken by a message and has its way of being fetched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from sqscribe.job import JobDefaults, JobMessageError
from sqscribe.job_message import parse_job
from sqscribe.sources import SourceScheme, source_bucket, source_scheme
from stages.fetch import Fetcher, FetchLimits, FetchRequest, NoAnswerError
from stages.fetch.address import AddressPolicy
from stages.ports import Cancellation, ScratchReserve


class StoreAskedError(NodeFaultError):
    """The scheme's own way was taken."""


def nowhere(*_args: Any, **_more: Any) -> NoReturn:
    raise OSError("no such host")


def no_store() -> NoReturn:
    raise StoreAskedError("the store")


def fetcher() -> Fetcher:
    return Fetcher(
        FetchLimits(max_bytes=1, attempts=1, backoff=0),
        no_store,
        policy=AddressPolicy(allow_private=False, resolve=nowhere),
    )


@pytest.mark.parametrize("scheme", [scheme for scheme in SourceScheme if scheme is not SourceScheme.DATA])
def test_each_is_taken_and_fetched(scheme: SourceScheme, tmp_path: Path, reserve: ScratchReserve) -> None:
    source = f"{scheme.upper()}://place/key"

    job = parse_job({"source": source}, JobDefaults("s3://results/out"))

    assert source_scheme(job.source) is scheme
    with pytest.raises((StoreAskedError, NoAnswerError)):
        fetcher().fetch(FetchRequest(job.source), tmp_path, reserve, Cancellation())


@pytest.mark.parametrize("source", ["ftp://place/key", "file:///key", "javascript:data:,x", "key", "s3:key", ""])
def test_no_other_is(source: str, tmp_path: Path, reserve: ScratchReserve) -> None:
    assert source_scheme(source) is None
    with pytest.raises(PermanentError) as refused:
        fetcher().fetch(FetchRequest(source), tmp_path, reserve, Cancellation())
    assert refused.value.code is ErrorCode.SOURCE_BLOCKED


@pytest.mark.parametrize(
    "source",
    [
        "data:audio/wav;base64,UklGRiAx",
        "DATA:audio/wav;base64,UklGRiAx",
        "data:;base64,UklGRiAx",
        "data:audio/wav;codecs=1;base64, UklG\nRiAx",
        "data:audio/wav;base64,UklG%52iAx",
        "data:,RIFF%201",
        "data:application/octet-stream,RIFF%201",
    ],
)
def test_what_is_embedded_is_taken_and_written(source: str, tmp_path: Path, reserve: ScratchReserve) -> None:
    job = parse_job({"source": source}, JobDefaults("s3://results/out"))

    assert source_scheme(job.source) is SourceScheme.DATA
    limits = FetchLimits(max_bytes=6)
    fetched = Fetcher(limits, no_store).fetch(FetchRequest(job.source), tmp_path, reserve, Cancellation())
    assert fetched.path.read_bytes() == b"RIFF 1"
    assert fetched.sha256 == hashlib.sha256(b"RIFF 1").hexdigest()
    assert parse_job(json.loads(job.body()), JobDefaults("s3://results/out")) == job


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("data:audio/wav", "a comma"),
        ("data:audio/wav;base64,", "holds no content"),
        ("data:audio/wav;base64,A", "is not"),
        ("data:audio/wav;base64,Ä", "is not"),
        ("data:text/html,<p>", "must hold audio or video"),
        ("data:audio/wav;base64," + "A" * 2**20, "characters"),
    ],
)
def test_what_is_embedded_wrongly_is_a_bad_message(source: str, why: str) -> None:
    with pytest.raises(JobMessageError) as refused:
        parse_job({"source": source}, JobDefaults("s3://results/out"))
    assert refused.value.code is ErrorCode.BAD_MESSAGE
    assert why in refused.value.message
    assert "AAAA" not in refused.value.message


def test_what_is_embedded_may_be_too_large(tmp_path: Path, reserve: ScratchReserve) -> None:
    with pytest.raises(PermanentError) as refused:
        fetcher().fetch(FetchRequest("data:,RIFF"), tmp_path, reserve, Cancellation())
    assert refused.value.code is ErrorCode.SOURCE_TOO_LARGE
    assert list(tmp_path.iterdir()) == []


def test_only_an_object_lies_in_a_bucket() -> None:
    assert source_bucket("s3://place/key") == "place"
    assert source_bucket("https://place/key") is None
