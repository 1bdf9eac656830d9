# SPDX-License-Identifier: Apache-2.0
"""The embedded SQS and S3, one server for all wire tests, with a queue and a bucket of its own for each."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from worker.embedded.aws import EmbeddedAws, EmbeddedQueue


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
