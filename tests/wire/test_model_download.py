# SPDX-License-Identifier: Apache-2.0
"""A model in S3: what the store refuses is told from a store that is away, and a download can be called off."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from sqscribe.errors import Cancelled, CancelReason, NodeFaultError, SettingsError
from stages.ports import Cancellation
from worker.embedded.environment import free_port
from worker.node.models import download_model
from worker.testing.refusing_aws import RefusingAws

# `aws` is in conftest.py: a queue and a bucket of the test's own.

SIZE = 300_000


@dataclass(frozen=True)
class Stored:
    front: RefusingAws
    url: str
    client: Callable[..., Any]


@pytest.fixture
def stored(aws: Any) -> Iterator[Stored]:
    """A model, with a folder and an object that is named to leave the folder beside it."""
    bucket = aws.bucket()
    name = bucket.removeprefix("s3://")
    for key in ("m/config.json", "m/model.bin", "m/deeper/other.bin", "other/model.bin"):
        aws.server.s3.put_object(Bucket=name, Key=key, Body=os.urandom(SIZE))
    with RefusingAws(aws.server.url) as front, ExitStack() as clients:

        def client(url: str = front.url) -> Any:
            config = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5)
            return clients.enter_context(closing(boto3.client("s3", endpoint_url=url, config=config)))

        yield Stored(front, f"{bucket}/m", client)


def test_all_files_of_the_folder_are_brought_and_no_others(stored: Stored, tmp_path: Path) -> None:
    download_model(stored.client, stored.url, tmp_path)

    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"config.json": SIZE, "model.bin": SIZE}


@pytest.mark.parametrize("operation", ["ListObjectsV2", "HeadObject", "GetObject"])
def test_a_refusal_is_a_matter_of_settings(stored: Stored, tmp_path: Path, operation: str) -> None:
    stored.front.refuse(operation, "AccessDenied")

    with pytest.raises(SettingsError, match=r"^SQSCRIBE_MODEL: .*/m cannot be read: .*list and read it"):
        download_model(stored.client, stored.url, tmp_path)


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("TooManyRequests", 429), ("InternalError", 500)])
def test_a_store_that_is_busy_is_the_nodes_trouble(stored: Stored, tmp_path: Path, code: str, status: int) -> None:
    stored.front.refuse("ListObjectsV2", code, status=status)

    with pytest.raises(NodeFaultError, match="cannot be downloaded"):
        download_model(stored.client, stored.url, tmp_path)


def test_a_store_that_is_away_is_the_nodes_trouble(stored: Stored, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(NodeFaultError, match="cannot be downloaded"):
        download_model(lambda: stored.client(nowhere), stored.url, tmp_path)


def test_where_nothing_stands_it_is_a_matter_of_settings(stored: Stored, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing stands below"):
        download_model(stored.client, f"{stored.url}/nothing", tmp_path)
    with pytest.raises(SettingsError, match="NoSuchBucket"):
        download_model(stored.client, "s3://nothing-there-at-all/m", tmp_path)


# s3transfer leaves the connection of a download that is called off to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_download_is_called_off_within_a_file(stored: Stored, tmp_path: Path) -> None:
    # Given a store that sends slowly, and somebody who calls the download off at its first sign of life
    stored.front.slow_down(SIZE // 2, seconds=0.05)
    signs: list[int] = []

    def alive() -> None:
        signs.append(len(signs))
        if len(signs) == 3:
            cancellation.cancel(CancelReason.SHUTDOWN)

    cancellation = Cancellation(on_check=alive)
    # When it is downloaded, then it ends before the first file is whole
    with pytest.raises(Cancelled):
        download_model(stored.client, stored.url, tmp_path, cancellation)
    assert {path.name for path in tmp_path.iterdir()} & {"config.json", "model.bin"} == set()
    gc.collect()
