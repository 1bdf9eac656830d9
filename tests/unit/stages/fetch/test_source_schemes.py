# SPDX-License-Identifier: Apache-2.0
"""Every scheme of the one list is taken by a message and has its way of being fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from sqscribe.errors import ErrorCode, NodeFaultError, PermanentError
from sqscribe.job import JobDefaults
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


@pytest.mark.parametrize("scheme", SourceScheme)
def test_each_is_taken_and_fetched(scheme: SourceScheme, tmp_path: Path, reserve: ScratchReserve) -> None:
    source = f"{scheme.upper()}://place/key"

    job = parse_job({"source": source}, JobDefaults("s3://results/out"))

    assert source_scheme(job.source) is scheme
    with pytest.raises((StoreAskedError, NoAnswerError)):
        fetcher().fetch(FetchRequest(job.source), tmp_path, reserve, Cancellation())


@pytest.mark.parametrize(
    "source", ["ftp://place/key", "file:///key", "data:audio/wav;base64,AAAA", "key", "s3:key", ""]
)
def test_no_other_is(source: str, tmp_path: Path, reserve: ScratchReserve) -> None:
    assert source_scheme(source) is None
    with pytest.raises(PermanentError) as refused:
        fetcher().fetch(FetchRequest(source), tmp_path, reserve, Cancellation())
    assert refused.value.code is ErrorCode.SOURCE_BLOCKED


def test_only_an_object_lies_in_a_bucket() -> None:
    assert source_bucket("s3://place/key") == "place"
    assert source_bucket("https://place/key") is None
