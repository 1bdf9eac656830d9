# SPDX-License-Identifier: Apache-2.0
"""Large objects come in several ranges at once, all of one version."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sqscribe.errors import Cancelled, CancelReason, ErrorCode, NodeFaultError, TransientError
from worker.testing.s3_gate import S3Gate, plain_client

if TYPE_CHECKING:
    from tests.wire.conftest import S3Case

BODY = os.urandom(3_000_017)


@pytest.fixture
def large(case: S3Case) -> S3Case:
    """A case in which its object is large."""
    case.put("large.wav", BODY)
    case.limits = replace(case.limits, max_bytes=2**22, ranges_from=2**20, range_bytes=2**17, connections=6)
    return case


def test_a_large_object_comes_in_ranges_whole_and_with_its_digest(large: S3Case, gate: S3Gate) -> None:
    source = large.fetch("s3://media/large.wav", plain_client(gate.url))
    assert source.path.read_bytes() == BODY
    assert source.sha256 == hashlib.sha256(BODY).hexdigest()
    assert (source.bytes, set(large.held.totals)) == (len(BODY), {len(BODY)})
    assert len(gate.ranges) >= 6
    assert all("If-Match" in headers for headers in gate.headers[1:])


def test_a_small_object_comes_in_one_piece(large: S3Case, gate: S3Gate) -> None:
    large.put("small.wav", BODY[: 2**20 - 1])
    large.fetch("s3://media/small.wav", plain_client(gate.url))
    assert gate.ranges == [None]


@pytest.mark.undisturbed
def test_where_each_connection_is_slow_several_bring_three_times_as_much(large: S3Case, gate: S3Gate) -> None:
    gate.rate = 500_000
    seconds = []
    for connections in (1, 6):
        large.limits = replace(large.limits, connections=connections)
        began = time.monotonic()
        path = large.fetch("s3://media/large.wav", plain_client(gate.url)).path
        seconds.append(time.monotonic() - began)
        assert path.read_bytes() == BODY
    print(f"one connection {seconds[0]:.2f} s, six {seconds[1]:.2f} s: {seconds[0] / seconds[1]:.1f} times as fast")
    assert seconds[0] > 3 * seconds[1]


def test_ranges_that_break_off_go_on_where_they_stopped(large: S3Case, gate: S3Gate) -> None:
    gate.breaks = 12
    assert large.fetch("s3://media/large.wav", plain_client(gate.url)).path.read_bytes() == BODY


def test_connections_that_are_refused_leave_their_ranges_to_the_others(large: S3Case, gate: S3Gate) -> None:
    gate.rate, gate.refused = 8_000_000, 4
    assert large.fetch("s3://media/large.wav", plain_client(gate.url)).path.read_bytes() == BODY


def test_a_store_without_ranges_is_read_in_one_piece(large: S3Case, gate: S3Gate) -> None:
    gate.whole = True
    assert large.fetch("s3://media/large.wav", plain_client(gate.url)).path.read_bytes() == BODY


def test_the_version_of_the_event_is_meant_in_every_range(large: S3Case, gate: S3Gate) -> None:
    version = large.put("large.wav", BODY[::-1])["VersionId"]
    large.put("large.wav", BODY)
    source = large.fetch("s3://media/large.wav", plain_client(gate.url), version_id=version)
    assert source.path.read_bytes() == BODY[::-1]


def test_an_object_that_is_overwritten_meanwhile_has_changed_and_is_never_spliced(large: S3Case, gate: S3Gate) -> None:
    gate.on_range = lambda: large.put("large.wav", BODY[::-1])
    code = large.fails("s3://media/large.wav", TransientError, s3=plain_client(gate.url))
    assert code == ErrorCode.SOURCE_CHANGED


def test_ranges_that_never_get_further_are_given_up(large: S3Case, gate: S3Gate) -> None:
    gate.wall = 100_000
    large.fails("s3://media/large.wav", NodeFaultError, s3=plain_client(gate.url))


def test_a_cancellation_ends_all_connections(large: S3Case, gate: S3Gate) -> None:
    gate.hold = True
    gate.on_break = lambda: large.cancellation.cancel(CancelReason.LEASE_LOST)
    began = time.monotonic()
    large.fails("s3://media/large.wav", Cancelled, s3=plain_client(gate.url))
    assert time.monotonic() - began < 5


def test_a_compressed_object_comes_in_one_piece(large: S3Case, gate: S3Gate) -> None:
    large.put("odd.wav", BODY, ContentEncoding="gzip")  # which it is not
    assert large.fetch("s3://media/odd.wav", plain_client(gate.url)).path.read_bytes() == BODY
    assert gate.ranges == [None]
