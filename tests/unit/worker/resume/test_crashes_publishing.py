# SPDX-License-Identifier: Apache-2.0
"""A worker that is killed after any single write, send or delete on a job's way out, and the ones that finish."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.queues import Outgoing

# As in conftest.
BASE = "s3://bucket/out"
FORMATS = ("json", "verbose_json", "srt", "vtt", "tsv", "txt")


def at_every_call(begin: Callable[[], Any], **options: Any) -> Any:
    """Worlds in which a first worker is killed after its first call, its second, and so on to its last."""

    def live(worker: Any) -> None:
        worker.run()

    calls = len(begin().until_a_crash(live, math.inf, **options).wire.made)
    for number in range(1, calls + 1):
        world = begin()
        first = world.until_a_crash(live, number, **options)
        yield world, first.wire.made


def others_finish(world: Any) -> list[Any]:
    """Workers that come after the one that was killed, until there is nothing left to do."""
    came: list[Any] = []
    while len(world.queue):
        assert len(came) < 4, "it never ends"
        came.append(world.worker(most=10))
        came[-1].run()
        came[-1].die()
        world.lapse()
    return came


def result(world: Any, job: str) -> dict[str, Any]:
    return dict(json.loads(world.store.objects[f"{BASE}/{job}/result.json"]))


def assert_whole(world: Any, job: str, formats: tuple[str, ...]) -> None:
    """A success, of which all that it names stands as it says, and nothing besides."""
    record = result(world, job)
    assert record["status"] == "succeeded"
    assert [artifact["format"] for artifact in record["artifacts"]] == list(formats)
    names = {f"{BASE}/{job}/result.json"}
    for artifact in record["artifacts"]:
        body = world.store.objects[f"s3://bucket/{artifact['key']}"]
        assert hashlib.sha256(body).hexdigest() == artifact["sha256"]
        names.add(f"s3://bucket/{artifact['key']}")
    assert {url for url in world.store.objects if url.startswith(f"{BASE}/{job}/")} == names


def letters(world: Any) -> list[tuple[str, str | None]]:
    """Job and error code of each dead letter."""
    return [
        (json.loads(letter.body)["job_id"], letter.attributes.get("error_code"))
        for letter in world.dead_letters.messages
    ]


def test_a_success(make_world: Any, expected: bytes) -> None:
    def begin() -> Any:
        world = make_world()
        world.send(formats=FORMATS)
        return world

    points = 0
    for world, made in at_every_call(begin):
        others_finish(world)
        assert world.transcript == expected, made
        assert_whole(world, "long", FORMATS)
        assert letters(world) == [], made
        points += 1
    assert points == 1 + 1 + len(FORMATS) + 1 + 1  # receive, look, formats, result, delete


def test_a_permanent_failure(make_world: Any, tmp_path: Path) -> None:
    """Once it is recorded, only the record and the letter are repeated, though the source be there by now."""
    source = tmp_path / "late.wav"

    def begin() -> Any:
        source.unlink(missing_ok=True)
        world = make_world()
        world.send(source=str(source))
        return world

    points: Counter[str] = Counter()
    for world, made in at_every_call(begin):
        recorded = f"{BASE}/long/result.json" in world.store.objects
        source.symlink_to(world.recording)
        came = others_finish(world)
        points["recorded" if recorded else "not yet"] += 1
        if not recorded:
            assert result(world, "long")["status"] == "succeeded", made
            assert letters(world) == [], made
            continue
        assert result(world, "long")["error"]["code"] == "source_not_found", made
        assert [worker.submitted for worker in came] == [[]] * len(came), made
        # A letter is sent again only if nobody can know of it
        assert set(letters(world)) == {("long", "source_not_found")}, made
        assert len(letters(world)) == (2 if made[-1] == "send" else 1), made
    assert points == {"not yet": 2, "recorded": 3}  # receive, look; record, letter, delete


def test_a_forced_job_in_the_place_of_one_that_stands(make_world: Any, expected: bytes) -> None:
    def begin() -> Any:
        world = make_world()
        world.send(formats=("json", "srt"))
        world.worker(language="de").run()
        assert world.transcript != expected
        world.send(formats=("json", "txt"), force=True)
        return world

    points = 0
    for world, made in at_every_call(begin):
        others_finish(world)
        assert world.transcript == expected, made
        # The format that was asked for earlier tells the new text, too
        assert_whole(world, "long", ("json", "txt", "srt"))
        assert result(world, "long")["origin"] == "m2", made
        points += 1
    assert points == 1 + 1 + 2 + 3 + 1 + 1  # receive, look, look and list, formats, result, delete


def test_formats_that_are_asked_for_later(make_world: Any) -> None:
    def begin() -> Any:
        world = make_world()
        world.send()
        world.worker().run()
        world.stood = dict(world.store.objects)
        world.send(formats=("json", "srt", "txt"))
        return world

    points = 0
    for world, made in at_every_call(begin):
        came = others_finish(world)
        assert [worker.submitted for worker in came] == [[]] * len(came), made
        added = {f"{BASE}/long/transcript.srt", f"{BASE}/long/transcript.txt"}
        assert world.store.objects.keys() - world.stood.keys() == added, made
        assert world.stood.items() <= world.store.objects.items(), made
        points += 1
    assert points == 1 + 1 + 2 + 1 + 2 + 1  # receive, look, two that lack, the master, both, delete


def test_several_jobs_in_a_message_that_comes_back(make_world: Any, expected: bytes, tmp_path: Path) -> None:
    """A job that is done, one that fails for good, a record that is none, and one that fails for now the first time."""

    def begin() -> Any:
        world = make_world()
        records = [
            {"job_id": "long", "source": str(world.recording), "formats": ["json", "srt"]},
            {"job_id": "gone", "source": str(tmp_path / "gone.wav")},
            {"job_id": "bad"},
            {"job_id": "later", "source": str(world.recording)},
        ]
        world.queue.send(None, Outgoing(json.dumps(records)))
        return world

    points: Counter[str] = Counter()
    for world, made in at_every_call(begin, rejects=("later",)):
        others_finish(world)
        assert world.transcript == expected, made
        assert_whole(world, "long", ("json", "srt"))
        assert_whole(world, "later", ("json",))
        assert result(world, "gone")["error"]["code"] == "source_not_found", made
        assert result(world, "bad")["error"]["code"] == "bad_message", made
        told = Counter(letters(world))
        assert told.keys() == {("gone", "source_not_found"), ("bad", "bad_message")}, made
        # Only a letter whose failure was not recorded any more may come twice
        assert sum(told.values()) == (3 if made[-1] == "send" else 2), made
        points[made[-1]] += 1
    assert points["send"] == 2
    assert points["release"] == 1
    assert points["delete"] == 0


@pytest.mark.parametrize("receives", [1, 2])
def test_what_fails_for_now_at_its_last_receive(make_world: Any, receives: int) -> None:
    def begin() -> Any:
        world = make_world(max_receives=receives)
        world.send()
        for _ in range(receives - 1):
            world.worker().take()
            world.workers[-1].die()
            world.lapse()
        return world

    for world, made in at_every_call(begin, rejects=("long",)):
        # Nobody may receive it again: the queue moves it by itself, without the reason
        world.worker(most=10).run()
        assert len(world.queue) == 0, made
        codes = {code for _, code in letters(world)}
        assert codes <= {None, "interrupted"}, made
        assert codes, made
        if "interrupted" in codes:
            assert result(world, "long")["error"]["code"] == "interrupted", made


@pytest.mark.parametrize("fields", [{}, {"force": True}, {"source": "gone.wav"}], ids=["plain", "forced", "failed"])
def test_a_message_that_the_queue_hands_out_once_more_after_its_delete(make_world: Any, fields: dict[str, Any]) -> None:
    """Standard queues do so now and then; nothing is done twice for it, not even by force."""
    world = make_world()
    world.send(**fields)
    ((name, message),) = world.queue._messages.items()
    world.worker().run()
    assert len(world.queue) == 0
    stood = dict(world.store.objects)
    # When it is there again
    message.visible_at = world.clock.now()
    world.queue._messages[name] = message
    second = world.worker()
    second.run()
    # Then it goes without any work
    assert len(world.queue) == 0
    assert second.submitted == []
    assert world.store.objects == stood
