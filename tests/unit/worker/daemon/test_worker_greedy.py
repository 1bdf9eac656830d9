# SPDX-License-Identifier: Apache-2.0
"""Messages that ask for too much cost the others nothing."""

from __future__ import annotations

import json
import time
from typing import Any

from worker.receive.messages import MOST_RECORDS
from worker.testing.media_server import MediaServer
from worker.testing.waiting import eventually
from worker.testing.world import OUTPUT, World


def record(number: int) -> dict[str, Any]:
    return {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "recordings"}, "object": {"key": f"{number}.wav", "size": 9}},
    }


def test_messages_that_ask_for_too_much_are_one_failure_each_and_hold_nobody_up(
    world: World, media: MediaServer
) -> None:
    # Given good jobs before and behind messages of far too many records
    events: list[list[Any]] = [[1] * 250_000, [record(number) for number in range(6000)], [{}] * MOST_RECORDS]
    greedy = [json.dumps({"Records": records}) for records in events]
    for number in range(10):
        world.send({"source": media.url("hello.wav"), "job_id": f"good-{number}"})
        if number < len(greedy):
            world.send(greedy[number])
    began = time.monotonic()
    # When a worker runs
    world.start()
    eventually(lambda: not len(world.queue))
    # Then each good job is done
    assert {(world.result(f"good-{number}") or {}).get("status") for number in range(10)} == {"succeeded"}
    # And each of the others is recorded once, and dead-lettered once, as it came
    failed = [json.loads(stored) for url, stored in world.store.objects.items() if url.startswith(f"{OUTPUT}/message-")]
    assert [result["error"]["code"] for result in failed] == ["bad_message"] * len(greedy)
    assert {letter.body for letter in world.dead_letters.messages} == set(greedy)
    assert time.monotonic() - began < 20
