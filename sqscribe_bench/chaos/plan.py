# SPDX-License-Identifier: Apache-2.0
"""The jobs of a scenario: what is sent, and what must come of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from sqscribe.errors import ErrorCode
from sqscribe_bench.chaos.recordings import RecordingMaker, Transcribed, simulated_transcription
from sqscribe_bench.chaos.reference import reference
from sqscribe_bench.lab.preparation import Preparation
from worker.receive.messages import MessageParser
from worker.testing.faults import SentMessage

__all__ = ["Line", "MessagePlan", "Mix", "PlannedMessage", "Promise"]

#: Names of the two lines: a queue, and the workers on it.
SIMULATED, REAL = "simulated", "real"
Line = str


@dataclass(frozen=True, slots=True)
class Mix:
    """How many messages of each kind there are.

    Attributes:
        clips: Short recordings for the simulated engine.
        long: Long ones.
        long_seconds: The shortest and the longest of them.
        silent: Recordings without speech.
        real: Short recordings for the real engine.
        bad: Of each kind of what must fail: malformed bodies, dead links, corrupt media.
        duplicates: Clips whose message is sent two or three times.
        events: S3 events with several records, one of which is bad.
    """

    clips: int
    long: int
    long_seconds: tuple[float, float]
    silent: int
    real: int
    bad: int
    duplicates: int
    events: int

    @classmethod
    def of(cls, jobs: int, *, long_seconds: tuple[float, float]) -> Mix:
        """A mix of about so many jobs."""
        bad, real, events = max(2, jobs // 30), max(4, jobs // 7), max(1, jobs // 30)
        long, duplicates, silent = max(2, jobs // 10), max(2, jobs // 15), max(1, jobs // 100)
        clips = max(4, jobs - 3 * bad - real - 3 * events - long - duplicates - silent)
        return cls(clips, long, long_seconds, silent, real, bad, duplicates, events)


@dataclass(frozen=True, slots=True)
class PlannedMessage:
    """A message that is to be sent.

    Attributes:
        kind: Its row in the table of the report.
        line: Which queue it goes to.
    """

    kind: str
    line: Line
    body: str


@dataclass(frozen=True, slots=True)
class Promise:
    """The outcome that one job must have.

    Attributes:
        key: `bucket/prefix/<job id>`.
        transcribed: What its transcript must say; None where it must fail.
        codes: Error codes that it may fail with.
        sends: How many messages ask for the job.
    """

    key: str
    kind: str
    line: Line
    transcribed: Transcribed | None
    codes: frozenset[str] = frozenset()
    sends: int = 1


@dataclass(slots=True, eq=False)
class MessagePlan:
    """Plans the messages, and keeps what those that were sent promise.

    Args:
        rng: Makes every choice.
        bucket: Where the sources go.
        upload: Puts a source into it: key and body; gives its ETag.
        link: An HTTP link to a key in it.
        parser: Reads messages as the workers do.
    """

    rng: random.Random
    bucket: str
    upload: Callable[[str, bytes], str]
    link: Callable[[str], str]
    parser: MessageParser
    _transcribed: dict[str, Transcribed] = field(default_factory=dict)  # by source
    _codes: dict[str, frozenset[str]] = field(default_factory=dict)
    promises: dict[str, Promise] = field(default_factory=dict)
    messages: dict[str, SentMessage] = field(default_factory=dict)

    def plan(self, mix: Mix) -> list[PlannedMessage]:
        """All messages in a random order, the long jobs evenly among the others: a fault always meets work."""
        maker = RecordingMaker(self.rng)
        long = [
            *self._good(SIMULATED, "long", [maker.long(self.rng.uniform(*mix.long_seconds)) for _ in range(mix.long)])
        ]
        others = [
            *self._good(SIMULATED, "clip", [maker.clip(encoding=self._encoding()) for _ in range(mix.clips)]),
            *self._good(SIMULATED, "silence", [maker.silence() for _ in range(mix.silent)]),
            *self._good(REAL, "real", [maker.clip() for _ in range(mix.real)]),
            *self._bad(maker, mix.bad),
            *self._events(maker, mix.events),
        ]
        for message in self._good(SIMULATED, "duplicate", [maker.clip() for _ in range(mix.duplicates)]):
            others += [message] * self.rng.randint(2, 3)
        self.rng.shuffle(others)
        total = len(others) + len(long)
        for place, message in enumerate(long):
            others.insert(place * total // len(long), message)
        return others

    def sent(self, message: PlannedMessage, message_id: str) -> None:
        """Keeps what a message promises that was sent under this id."""
        parsed = self.parser.parse(message.body, message_id)
        dead: dict[str, frozenset[str]] = {}
        for job in parsed.jobs:
            key = f"{job.output.removeprefix('s3://')}/{job.job_id}"
            dead[key] = frozenset({message.body, job.body()})
            self._promise(key, message, self._transcribed.get(job.source), self._codes.get(job.source, frozenset()))
        for rejected in parsed.rejected:
            key = f"{rejected.ref.output.removeprefix('s3://')}/{rejected.job_id}"
            dead[key] = frozenset({message.body, rejected.body})
            self._promise(key, message, None, frozenset({str(ErrorCode.BAD_MESSAGE)}))
        self.messages[message_id] = SentMessage(tuple(dead), dead)

    def _promise(
        self, key: str, message: PlannedMessage, transcribed: Transcribed | None, codes: frozenset[str]
    ) -> None:
        before = self.promises.get(key)
        sends = before.sends + 1 if before else 1
        self.promises[key] = Promise(key, message.kind, message.line, transcribed, codes, sends)

    # -- what goes well --------------------------------------------------------------------------------------------

    def _good(self, line: Line, kind: str, media: Sequence[bytes]) -> Iterator[PlannedMessage]:
        transcribed = reference(media) if line == REAL else self._simulated(media)
        for number, (body, each) in enumerate(zip(media, transcribed, strict=True)):
            if each is not None:
                source = self._source(f"{kind}-{number}", body)
                self._transcribed[source] = each
                yield PlannedMessage(kind, line, self._message(source, f"{kind}-{number}"))

    def _simulated(self, media: Sequence[bytes]) -> list[Transcribed | None]:
        with Preparation() as preparation, ThreadPoolExecutor(2) as pool:
            return list(pool.map(partial(simulated_transcription, preparation), media))

    def _source(self, name: str, body: bytes) -> str:
        """Puts a recording into the bucket; every third one is fetched over HTTP."""
        self.upload(name, body)
        return self.link(name) if self.rng.random() < 1 / 3 else f"s3://{self.bucket}/{name}"

    def _message(self, source: str, job_id: str) -> str:
        return json.dumps({"source": source, "job_id": job_id, "metadata": {"job": job_id}})

    def _encoding(self) -> str | None:
        return self.rng.choice([None, None, None, "mp3", "ogg"])

    # -- what must fail --------------------------------------------------------------------------------------------

    def _bad(self, maker: RecordingMaker, count: int) -> Iterator[PlannedMessage]:
        unreadable = frozenset({str(ErrorCode.MEDIA_UNREADABLE), str(ErrorCode.MEDIA_NO_AUDIO)})
        for number in range(count):
            yield PlannedMessage("malformed", SIMULATED, self._malformed(number))
            absent = f"absent-{number}"
            link = self.link(absent) if number % 2 else f"s3://{self.bucket}/{absent}"
            self._codes[link] = frozenset({str(ErrorCode.SOURCE_NOT_FOUND)})
            yield PlannedMessage("dead link", SIMULATED, self._message(link, absent))
            source = self._source(f"corrupt-{number}", maker.garbage() if number % 3 else b"")
            self._codes[source] = unreadable
            yield PlannedMessage("corrupt", SIMULATED, self._message(source, f"corrupt-{number}"))

    def _malformed(self, number: int) -> str:
        """A body that is no job, unlike any other, so that dead letters can be told apart."""
        source = f"s3://{self.bucket}/clip-0"
        bodies = (
            f"this is neither JSON nor a URL, but number {number}",
            json.dumps([source, number]),
            json.dumps({"source": source, "beam_size": 99, "job_id": f"malformed-{number}"}),
            json.dumps({"source": source, "beam": 5, "job_id": f"malformed-{number}"}),
            json.dumps({"source": number}),
            json.dumps({"Records": [{"eventSource": "aws:s3", "number": number}]}),
            f'{{"number": {number}, "source": "s3://',
        )
        return bodies[number % len(bodies)]

    def _events(self, maker: RecordingMaker, count: int) -> Iterator[PlannedMessage]:
        """S3 events with two good records and a bad one."""
        for number in range(count):
            names = [f"event-{number}-{place}" for place in range(3)]
            media = [maker.clip(), maker.clip(), maker.garbage()]
            etags = [self.upload(name, body) for name, body in zip(names, media, strict=True)]
            for name, transcribed in zip(names, self._simulated(media[:2]), strict=False):
                if transcribed is not None:
                    self._transcribed[f"s3://{self.bucket}/{name}"] = transcribed
            self._codes[f"s3://{self.bucket}/{names[2]}"] = frozenset({str(ErrorCode.MEDIA_UNREADABLE)})
            records = [self._record(name, body, etag) for name, body, etag in zip(names, media, etags, strict=True)]
            if number % 2:
                records[2] = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "number": number}
            self.rng.shuffle(records)
            yield PlannedMessage("event", SIMULATED, json.dumps({"Records": records}))

    def _record(self, name: str, body: bytes, etag: str) -> dict[str, object]:
        return {
            "eventVersion": "2.2",
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": self.bucket}, "object": {"key": name, "size": len(body), "eTag": etag}},
        }
