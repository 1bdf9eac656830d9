# SPDX-License-Identifier: Apache-2.0
"""Segments from timestamp tokens."""

from __future__ import annotations

import pytest

from stages.inference.whisper.timestamps import TimedTokens, parse_timestamps, rest_start
from stages.values import SAMPLE_RATE, Piece, Window

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


def spoken(*spans: tuple[float, float]) -> Window:
    """Ten seconds with speech in these spans."""
    samples = tuple((round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) for start, end in spans)
    length = 10 * SAMPLE_RATE
    return Window(0, (Piece(0, 0, length),), speech=length, speech_end=length, spans=samples)


@pytest.mark.parametrize(
    ("tokens", "spans", "expected"),
    [
        # As Whisper ends a window in whose last sentence it was cut off: the rest is asked for from there.
        ([at(0.0), 1, at(4.0), at(4.0)], [(0, 10)], 4.0),
        ([at(0.0), 1, at(4.0), at(4.4), 2, at(6.0), at(6.2)], [(0, 10)], 6.2),
        ([at(0.0), 1, at(4.0)], [(0, 10)], 4.0),  # a closing mark, with speech behind it
        ([at(0.0), 1, at(4.0), at(4.0), 2, 3], [(0, 10)], 4.0),  # an unfinished sentence is begun anew
        ([at(0.0), 1, at(4.0)], [(0, 4.5), (9, 9.4)], None),  # 0.9 s of speech are left
        ([at(0.0), 1, at(4.0)], [(0, 4.5), (9, 9.6)], 4.0),
        ([at(0.0), 1, at(9.5)], [(0, 10)], None),
        ([at(0.0), 1, at(0.9)], [(0, 10)], None),  # too little was told to go on from
        ([at(0.0), 1, at(1.0)], [(0, 10)], 1.0),
        ([at(0.0), 1, 2], [(0, 10)], None),  # one sentence over all of it
        ([at(3.0)], [(0, 10)], None),
        ([at(0.0), EOT + 5, at(3.0)], [(0, 10)], None),  # other marks are no text
        ([1, 2], [(0, 10)], None),
        ([], [(0, 10)], None),
        ([at(0.0), 1, at(4.0)], [], None),
        ([at(0.0), 1, at(29.0)], [(0, 10)], None),
    ],
)
def test_rest(tokens: list[int], spans: list[tuple[float, float]], expected: float | None) -> None:
    found = rest_start(tokens, FIRST, EOT, spoken(*spans))
    assert found == (None if expected is None else pytest.approx(expected))
