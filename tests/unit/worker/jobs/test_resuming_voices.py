# SPDX-License-Identifier: Apache-2.0
"""What the next worker makes of a checkpoint of a job whose channels are split."""

from __future__ import annotations

import json
import random
import wave
from pathlib import Path
from typing import Any

import pytest

from stages.values import SAMPLE_RATE

#: Windows of each channel, a second each; as many in all as in conftest.
EACH = 10


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other noise on each of two channels."""
    path = tmp_path_factory.mktemp("media") / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(random.Random(7).randbytes(4 * SAMPLE_RATE * EACH))
    return path


@pytest.fixture(scope="module")
def wishes() -> dict[str, Any]:
    return {"channels": "split"}


def test_the_next_worker_goes_on_in_the_middle_of_a_channel(world: Any, expected: bytes) -> None:
    # Given a worker that is killed with the first channel and two windows of the second saved
    world.send(channels="split")
    first = world.interrupted(EACH + 2)
    assert first.submitted == [2 * EACH]
    # When another one gets the message
    second = world.worker()
    second.run()
    # Then it decodes what is missing, and the transcript is as if nothing had happened
    assert second.submitted == [EACH - 2]
    assert world.transcript == expected
    assert world.checkpoint() == []
    # and that one alternates between the channels, second by second, no text twice
    transcript = json.loads(expected)
    segments = transcript["segments"]
    assert [(each["channel"], each["start"]) for each in segments] == [
        (channel, float(second)) for second in range(EACH) for channel in (0, 1)
    ]
    assert len({each["text"] for each in segments}) == 2 * EACH
    assert transcript["duration"] == EACH


@pytest.mark.parametrize("other", [{}, {"channels": "split", "track": 0}, {"track": "all"}], ids=str)
def test_work_for_another_choice_is_not_taken_up(world: Any, other: dict[str, Any]) -> None:
    # Given a job that was begun with its channels split, and then sent with another choice under the same id
    world.send(channels="split")
    world.interrupted()
    world.send(**other)
    # When a worker gets both
    worker = world.worker(most=2)
    worker.take()
    # Then only the first one's work is taken up
    windows = 2 * EACH if other.get("channels") else EACH
    assert worker.submitted == [2 * EACH - 8, windows]
