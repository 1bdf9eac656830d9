# SPDX-License-Identifier: Apache-2.0
"""Waiting ends with what was waited for, or with an error that says that it did not come."""

from __future__ import annotations

import pytest

from worker.testing.waiting import eventually


def test_it_looks_until_the_condition_holds() -> None:
    # Given something that comes about at the third look
    looks = iter([False, False, True])

    eventually(lambda: next(looks), pause=0.001)

    # Then nobody looks again
    assert list(looks) == []


def test_what_does_not_come_about_is_an_error() -> None:
    with pytest.raises(TimeoutError, match=r"did not come about in 0\.01 s"):
        eventually(lambda: False, seconds=0.01, pause=0.001)


def test_what_a_look_raises_ends_the_wait() -> None:
    def broken() -> bool:
        raise ValueError("a worker has ended")

    with pytest.raises(ValueError, match="has ended"):
        eventually(broken)
