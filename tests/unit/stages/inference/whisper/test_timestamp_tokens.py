# SPDX-License-Identifier: Apache-2.0
"""Segments from timestamp tokens."""

from __future__ import annotations

import pytest

from stages.inference.whisper.timestamps import TimedTokens, parse_timestamps

EOT = 100
FIRST = 200


def at(seconds: float) -> int:
    return FIRST + round(seconds / 0.02)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([at(0.5), 1, 2, at(2.0), at(2.4), 3, at(4.0)], [(0.5, 2.0, (1, 2)), (2.4, 4.0, (3,))]),
        ([at(0.5), 1, at(2.0), at(2.0), 2, 3], [(0.5, 2.0, (1,)), (2.0, 10.0, (2, 3))]),  # unfinished
        ([at(0.5), 1, at(2.0), 2, at(3.0)], [(0.5, 2.0, (1,)), (2.0, 3.0, (2,))]),  # one mark for both
        ([1, 2], [(0.0, 10.0, (1, 2))]),  # none at all
        ([at(3.0), 1, at(1.0)], [(3.0, 3.0, (1,))]),  # never backwards
        ([at(8.0), 1, at(29.0), at(29.0)], [(8.0, 10.0, (1,))]),  # never past the window
        ([at(0.0), 1, EOT + 5, 2, at(1.0)], [(0.0, 1.0, (1, 2))]),  # other marks are no text
        ([at(0.0), at(1.0)], []),
        ([], []),
    ],
)
def test_parse(tokens: list[int], expected: list[tuple[float, float, tuple[int, ...]]]) -> None:
    parsed = parse_timestamps(tokens, FIRST, EOT, 10.0)
    assert parsed == [
        TimedTokens(pytest.approx(start), pytest.approx(end), ids)  # type: ignore[arg-type]
        for start, end, ids in expected
    ]
