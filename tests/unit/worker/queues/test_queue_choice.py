# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from sqscribe.errors import SettingsError
from stages.ports import Clock
from worker.connect import connect_aws
from worker.queues import choice
from worker.queues.memory import MemoryQueue
from worker.queues.sqs import SqsQueue
from worker.settings import Settings
from worker.telemetry.metrics import Metrics


def connected_queue(url: str, **settings: Any) -> object:
    return connect_aws(Settings(_env_file=None, queue_url=url, output="s3://bucket/out", **settings), Metrics()).queue


@pytest.mark.parametrize("url", ["https://sqs.eu-west-1.amazonaws.com/1/jobs", "HTTP://127.0.0.1:9324/1/jobs"])
def test_a_web_address_is_a_queue_of_sqs(url: str) -> None:
    assert isinstance(connected_queue(url), SqsQueue)


@pytest.mark.parametrize("url", ["pigeon://loft/jobs", "jobs", "arn:aws:sqs:eu-west-1:1:jobs", "://x"])
def test_an_address_of_no_known_kind_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match=r"SQSCRIBE_QUEUE_URL.*https://, http://"):
        connected_queue(url)


def test_a_kind_is_known_once_it_has_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []

    def make(url: str, _clients: object, clock: Clock, visibility_timeout: int) -> MemoryQueue:
        made.append((url, visibility_timeout))
        return MemoryQueue(clock, visibility_timeout=visibility_timeout)

    monkeypatch.setitem(choice._FACTORIES, "memory", make)

    assert isinstance(connected_queue("memory://jobs", visibility_timeout=77), MemoryQueue)
    assert made == [("memory://jobs", 77)]
