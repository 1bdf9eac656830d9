# SPDX-License-Identifier: Apache-2.0
"""Large files over several connections."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, TransientError
from worker.testing.served import Served

BODY = os.urandom(3_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def large(case: Any) -> Iterator[Any]:
    """Files of a megabyte are large here."""
    case.limits = replace(
        case.limits, max_bytes=2**23, ranges_from=2**20, ranges_after=0.1, range_bytes=2**15, attempts=4
    )
    yield case
    # Whatever became of the file, nobody works on it any more.
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-range")]


def serve(case: Any, **how: Any) -> Served:
    served = Served(BODY, closing=case.web.closing, **how)
    case.web.routes["/f.mp3"] = served
    return served


def fetch(case: Any) -> float:
    """Seconds that the whole file takes."""
    began = time.monotonic()
    source = case.fetch(case.web.url + "/f.mp3")
    seconds = time.monotonic() - began
    assert source.sha256 == DIGEST
    assert source.path.read_bytes() == BODY
    source.path.unlink()
    return seconds


@pytest.mark.undisturbed
def test_a_server_that_limits_each_connection_is_three_times_as_fast(large: Any) -> None:
    # Given a server that gives 750 kB/s to each connection
    served = serve(large, rate=750_000)
    # When the file is fetched with one and with six
    limits = large.limits
    large.limits = replace(limits, connections=1)
    alone = fetch(large)
    assert served.most_at_once == 1
    large.limits = limits
    together = min(fetch(large) for _ in range(3))  # what else the machine does can only add to it
    # Then they are worth it
    assert served.most_at_once == 6
    assert alone / together >= 3, f"{alone:.2f} s alone, {together:.2f} s together"


def test_a_server_that_is_fast_is_asked_once(large: Any) -> None:
    served = serve(large)
    fetch(large)
    assert served.asked == [None]


@pytest.mark.undisturbed
@pytest.mark.parametrize("full", [200, 416, 429, 503, 403])
def test_a_server_that_refuses_more_connections_goes_on_with_the_first(large: Any, full: int) -> None:
    served = serve(large, rate=3_000_000, most=1, full=full)
    fetch(large)
    assert served.asked[0] is None
    # Each of the others tried once (twice where the first was between two of its parts), and nobody insists
    assert large.limits.connections <= len(served.asked) <= 2 * large.limits.connections
    assert served.most_at_once <= large.limits.connections


def test_some_that_are_refused_leave_their_part_to_the_others(large: Any) -> None:
    served = serve(large, rate=1_500_000, most=3)
    fetch(large)
    assert served.most_at_once >= 3


def test_a_server_without_ranges_or_validator_sends_one_stream(large: Any) -> None:
    for how in ({"ranges": False}, {"etag": ""}, {"etag": 'W/"v1"'}):
        served = serve(large, rate=6_000_000, **how)
        fetch(large)
        assert served.asked == [None]


def test_connections_that_break_off_go_on(large: Any) -> None:
    served = serve(large, rate=3_000_000, breaks_after=200_000)
    fetch(large)
    assert len(served.asked) >= 15


def test_a_file_that_changes_while_it_comes_in_ranges_begins_anew(large: Any) -> None:
    served = serve(large, rate=1_000_000)
    changing = threading.Event()

    def route(handler: Any) -> None:
        if handler.headers.get("Range") and not changing.is_set():
            changing.set()
            served.etag = '"v2"'
        served(handler)

    large.web.routes["/f.mp3"] = route
    fetch(large)
    assert served.asked.count(None) >= 2


def test_a_file_that_always_changes_has_changed(large: Any) -> None:
    served = serve(large, rate=1_000_000)

    def route(handler: Any) -> None:
        served.etag = f'"v{len(served.asked)}"'
        served(handler)

    large.web.routes["/f.mp3"] = route
    assert large.fails(large.web.url + "/f.mp3", TransientError) == ErrorCode.SOURCE_CHANGED


def test_a_cancellation_ends_all_connections(large: Any) -> None:
    served = serve(large, rate=50_000)

    def route(handler: Any) -> None:
        if handler.headers.get("Range"):
            large.cancellation.cancel(CancelReason.SHUTDOWN)
        served(handler)

    large.web.routes["/f.mp3"] = route
    began = time.monotonic()
    large.fails(large.web.url + "/f.mp3", Cancelled)
    assert time.monotonic() - began < 5


def test_all_fetches_together_besiege_no_host(large: Any) -> None:
    large.limits = replace(large.limits, host_connections=2)
    served = serve(large, rate=1_500_000)
    fetch(large)
    # Then there are two beside the first, and at most one that the server has not yet seen end
    assert 3 <= served.most_at_once <= 4
