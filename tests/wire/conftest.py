# SPDX-License-Identifier: Apache-2.0
"""The embedded SQS and S3, one server for all wire tests, with a queue and a bucket of its own for each; fetches."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sqscribe.errors import PermanentError, SqscribeError
from stages.fetch import Fetcher, FetchLimits, FetchRequest
from stages.ports import Cancellation
from stages.values import Source
from worker.embedded.aws import EmbeddedAws, EmbeddedQueue
from worker.testing.s3_gate import S3Gate, plain_client
from worker.testing.scratch import BoundlessReserve

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.wire)


@dataclass(frozen=True)
class Aws:
    """The server, and names that no other test uses."""

    server: EmbeddedAws
    name: str

    def queue(self, **options: Any) -> EmbeddedQueue:
        """The test's queue, made with the options of `EmbeddedAws.make_queue`."""
        return self.server.make_queue(self.name, **options)

    def bucket(self) -> str:
        """The test's bucket, as `s3://name`."""
        return self.server.make_bucket(self.name)


@pytest.fixture(scope="session")
def embedded_aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws() as server:
        yield server


@pytest.fixture
def aws(embedded_aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """A running server to which every AWS client made in this process goes."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in embedded_aws.env().items():
        monkeypatch.setenv(name, value)
    return Aws(embedded_aws, f"test-{uuid.uuid4().hex[:12]}")


class S3Case:
    """A fetch from the bucket `media`, which has versions, and what it needs besides."""

    def __init__(self, store: str, folder: Path) -> None:
        self.s3 = plain_client(store)
        self.folder = folder
        self.held = BoundlessReserve()
        self.cancellation = Cancellation()
        self.limits = FetchLimits(max_bytes=2**20, attempts=3, backoff=0.01)
        self.allowed: frozenset[str] | None = None

    def put(self, key: str, body: bytes, **headers: Any) -> Any:
        return self.s3.put_object(Bucket="media", Key=key, Body=body, **headers)

    def fetch(self, source: str, s3: S3Client | None = None, **event: str) -> Source:
        fetcher = Fetcher(self.limits, lambda: s3 or self.s3, allowed_buckets=self.allowed)
        return fetcher.fetch(FetchRequest(source, **event), self.folder, self.held, self.cancellation)

    def fails(self, source: str, kind: type[SqscribeError] = PermanentError, **how: Any) -> Any:
        """Gives the code of the error."""
        return getattr(self.error(source, kind, **how), "code", None)

    def error(self, source: str, kind: type[SqscribeError] = PermanentError, **how: Any) -> SqscribeError:
        with pytest.raises(kind) as caught:
            self.fetch(source, **how)
        assert list(self.folder.iterdir()) == []
        return caught.value


@pytest.fixture(scope="session")
def store(embedded_aws: EmbeddedAws) -> str:
    embedded_aws.make_bucket("media")
    embedded_aws.s3.put_bucket_versioning(Bucket="media", VersioningConfiguration={"Status": "Enabled"})
    return embedded_aws.url


@pytest.fixture
def case(store: str, tmp_path: Path) -> S3Case:
    return S3Case(store, tmp_path)


@pytest.fixture
def gate(store: str) -> Iterator[S3Gate]:
    with S3Gate(store) as gate:
        yield gate
