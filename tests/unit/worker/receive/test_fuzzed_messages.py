# SPDX-License-Identifier: Apache-2.0
"""Bodies, envelopes and attributes that went wrong somewhere: no crash, no hang, and no created object lost.

`SQSCRIBE_FUZZ=100000` tries so many bodies instead of some thousands.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from sqscribe.job import JOB_ID, JobDefaults
from worker.queues import Message
from worker.receive.lineage import GENERATION_ATTRIBUTE, MOST_GENERATIONS, ORIGIN_ATTRIBUTE, Lineage
from worker.receive.messages import MOST_RECORDS, MessageParser, Parsed

BODIES = int(os.environ.get("SQSCRIBE_FUZZ", "4000"))
#: Bodies of one test; each has a seed of its own.
SHARE = 1000
SECRET = "s3cr3t"
#: Seconds of CPU for one body, on the slowest of machines.
PATIENCE = 5.0

JUNK: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        10**30,
        10**400,
        1e308,
        -0.0,
        5.5,
        "",
        " ",
        "\0",
        "\ud800",
        "\ufeff",
        "a",
        "en",
        "auto",
    ),
    *("s3://", "s3://b", "s3://recordings/x", "https://", f"https://u:{SECRET}@h/a?t={SECRET}", "file:///etc/passwd"),
    *("%", "%FF", "%2F", "+", "..", "../../x", "/", "a/", "null", "x" * 3000, "ü" * 600, "\u202e", "💥" * 300),
    *([], {}, [[]], [{}], [1] * 50, {"": ""}, {"a": {"a": {"a": []}}}, ["s3://recordings/x"], {"Records": []}),
    *("aws:s3", "minio:s3", "aws:sqs", "s3:TestEvent", "Notification", "ObjectCreated:Put", "Object Created", "aws.s3"),
]


def record(rng: random.Random) -> dict[str, Any]:
    number = rng.randrange(20)
    return {
        "eventVersion": rng.choice(["2.0", "2.1", "2.6"]),
        "eventSource": rng.choice(["aws:s3", "minio:s3", "ceph:s3"]),
        "eventName": rng.choice(["ObjectCreated:Put", "s3:ObjectCreated:Copy", "ObjectRemoved:Delete"]),
        "s3": {
            "bucket": {"name": rng.choice(["recordings", "results"])},
            "object": {
                "key": rng.choice([f"a+b/{number}.wav", f"{number}/", f"out/{number}.wav", f"j{number}/result.json"]),
                "size": rng.choice([0, 9]),
                "eTag": "e7a9",
                "sequencer": f"{number:04X}",
            },
        },
    }


def job(rng: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "source": rng.choice(["s3://recordings/a.wav", f"https://example.org/a.mp3?token={SECRET}"]),
        "job_id": "talk-1",
        "output": "s3://mine/x",
        "formats": ["srt", "vtt"],
        "language": "en",
        "languages": ["de", "fr"],
        "vad": {"threshold": 0.4, "pad": 1},
        "temperature": [0, 0.4],
        "start": 1,
        "end": 9.5,
        "initial_prompt": "Names: Ørsted",
        "metadata": {"any": [1, None, {"x": "y"}]},
        "object": {"version_id": "v1"},
        "version": 1,
    }
    return {name: value for name, value in fields.items() if name == "source" or rng.random() < 0.5}


def bridge(rng: random.Random) -> dict[str, Any]:
    return {
        "version": "0",
        "source": "aws.s3",
        "detail-type": rng.choice(["Object Created", "Object Deleted"]),
        "detail": {"bucket": {"name": "recordings"}, "object": {"key": "a+b.wav", "size": 9, "etag": "e7a9"}},
    }


def event(rng: random.Random) -> dict[str, Any]:
    return {"Records": [record(rng) for _ in range(rng.choice([0, 1, 1, 1, 3, 30]))]}


def envelope(rng: random.Random) -> dict[str, Any]:
    inner = damaged(rng, rng.choice([event, bridge, job])(rng))
    return {"Type": "Notification", "MessageId": "x", "TopicArn": "arn:x", "Message": text_of(rng, inner)}


def damaged(rng: random.Random, value: Any) -> Any:
    """The value with something replaced, taken out, renamed or repeated, somewhere in it."""
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        place, children = value, [value]
        while isinstance(place, dict | list) and place and rng.random() < 0.8:
            children.append(place := place[rng.choice(list(place))] if isinstance(place, dict) else rng.choice(place))
        holders = [child for child in children if isinstance(child, dict | list) and child]
        if not holders:
            return copy.deepcopy(rng.choice(JUNK))
        holder = rng.choice(holders)
        name = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        what = rng.randrange(4)
        if what == 0:
            del holder[name]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice(["Source", "sourc", "", "Records", "Event", "Type", "x" * 500])] = holder.pop(name)
        elif what == 2 and isinstance(holder, list):
            holder.extend(holder[:1] * rng.choice([1, 25]))
        else:
            holder[name] = copy.deepcopy(rng.choice(JUNK))
    return value


def text_of(rng: random.Random, value: Any) -> str:
    return json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 2]))


def scrambled(rng: random.Random, text: str) -> str:
    """The text as bad writers, bad pipes and bad days leave it."""
    at, upto = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    ways: list[Callable[[], str]] = [
        lambda: text[:at],
        lambda: text[:at] + text[upto:],
        lambda: text[:at] + rng.choice(["{", "}", "[", '"', ",", "\\", "\0", "NaN", "//", "'", "\n"]) + text[at:],
        lambda: text[:at] + text[at:upto] * 3 + text[upto:],
        lambda: text.replace('"', "'"),
        lambda: text.replace("}", ",}"),
        lambda: text + text,
        lambda: json.dumps(text),
        lambda: f"[{text}]",
        lambda: base64.b64encode(text.encode(errors="replace")).decode(),
        lambda: text.encode("utf-16", errors="replace").decode("latin-1"),
        lambda: text.encode("utf-8", errors="replace").decode("latin-1"),
        lambda: "".join(rng.sample(text, len(text))),
        lambda: "".join(
            chr(rng.choice([rng.randrange(128), rng.randrange(0x3000)])) for _ in range(rng.randrange(200))
        ),
    ]
    return rng.choice(ways)()


def url(rng: random.Random) -> Any:
    return job(rng)["source"]


MADE: list[Callable[[random.Random], Any]] = [event, event, job, bridge, envelope, url]


def body(rng: random.Random) -> str:
    made = rng.choice(MADE)(rng)
    text = made if isinstance(made, str) else text_of(rng, damaged(rng, made))
    return scrambled(rng, text) if rng.random() < 0.35 else text


def records_of(text: str) -> int | None:
    """How many records the body has, if it is an S3 event that can be read."""
    try:
        content = json.loads(text.strip("\ufeff \t\r\n"))
        if isinstance(content, dict) and content.get("Type") == "Notification" and "Records" not in content:
            content = json.loads(content["Message"].strip("\ufeff \t\r\n"))
    except (ValueError, AttributeError, TypeError, KeyError):
        return None
    if not isinstance(content, dict) or content.get("Event") == "s3:TestEvent":
        return None
    if content.get("source") == "aws.s3" and "detail-type" in content:
        return 1
    return len(content["Records"]) if isinstance(content.get("Records"), list) else None


def accounted(parsed: Parsed, text: str) -> int:
    """Records of which something is said: a job, a skip, a rejection of its own or one of many together."""
    together = [rejected for rejected in parsed.rejected if "recorded together" in rejected.error.message]
    many = sum(int(rejected.error.message.split(" ", 1)[0]) for rejected in together)
    for rejected in together:
        # The letter has them all, alone or in the message as it came
        assert rejected.body == text or len(json.loads(rejected.body)["Records"]) == many
    return len(parsed.jobs) + parsed.skipped + len(parsed.rejected) - len(together) + many


def check(parser: MessageParser, text: str) -> None:
    began = time.thread_time()
    parsed = parser.parse(text, "7d4c")
    assert time.thread_time() - began < PATIENCE
    assert parsed.jobs or parsed.rejected or parsed.skipped
    count = records_of(text)
    if count and count <= MOST_RECORDS and "NaN" not in text and "Infinity" not in text:
        assert accounted(parsed, text) == count
    for made in parsed.jobs:
        assert JOB_ID.fullmatch(made.job_id)
        assert parser.parse(made.body(), "again").jobs == (made,)
    ids = [*(made.job_id for made in parsed.jobs), *(rejected.job_id for rejected in parsed.rejected)]
    assert len(set(ids)) == len(ids)
    for rejected in parsed.rejected:
        assert JOB_ID.fullmatch(rejected.job_id)
        assert rejected.ref.output in {"s3://results/out", "s3://mine/x"} or rejected.ref.output.startswith("s3://")
        assert rejected.body or not text
        assert rejected.error.message
        assert SECRET not in rejected.error.message


@pytest.mark.parametrize("seed", range(max(1, BODIES // SHARE)))
def test_no_body_makes_it_fail_hang_or_lose_a_record(seed: int) -> None:
    rng = random.Random(seed)
    parser = MessageParser(JobDefaults("s3://results/out"), rng.choice([None, ["recordings", "mine"]]))

    for number in range(SHARE):
        text = body(rng)
        try:
            check(parser, text)
        except Exception as error:
            error.add_note(f"seed {seed}, body {number}: {text[:2000]!r}")
            raise


def test_no_attributes_make_a_lineage_fail() -> None:
    rng = random.Random(7)
    texts = ["", "0", "1", "20", "9999", "10000", "-1", "1.0", "\u0661", "²", " 1", "1\n", "x" * 300, "\ud800", "\0"]
    for _ in range(SHARE):
        names = rng.sample([ORIGIN_ATTRIBUTE, GENERATION_ATTRIBUTE, "other"], rng.randrange(4))
        attributes = {name: rng.choice(texts) for name in names}
        lineage = Lineage.of(Message("m-1", "r", "{}", 1, 0.0, attributes))
        assert lineage.origin
        assert lineage.generation in range(10_000)
        assert lineage.is_last == (lineage.generation >= MOST_GENERATIONS)
        assert lineage.label.isalnum()
