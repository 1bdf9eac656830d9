# SPDX-License-Identifier: Apache-2.0
"""`result.json`: what became of a job. Written last, so that its presence means that all the rest is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from sqscribe.transcript import JobWarning

__all__ = [
    "RESULT_NAME",
    "Artifact",
    "Chapter",
    "ErrorFacts",
    "Media",
    "ModelFacts",
    "Result",
    "Timings",
    "WorkerFacts",
]

#: The object's name below `<output>/<job_id>/`.
RESULT_NAME = "result.json"
#: Version of the layout that this module reads and writes.
VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One rendered format.

    Attributes:
        key: The object's key in the output's bucket.
        bytes: Its size.
        sha256: Hex digest of its bytes.
    """

    format: str
    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the transcript was made with."""

    name: str
    revision: str
    compute_type: str


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """Who made it: the version of sqscribe, and the node that it ran on."""

    version: str
    node: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a recording, as its page names it; times in seconds of the recording."""

    start: float
    end: float | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """What the source says about itself. It comes from a stranger, so it may be wrong or hostile.

    Attributes:
        upload_date: As YYYY-MM-DD.
        duration: Seconds.
    """

    title: str | None = None
    uploader: str | None = None
    upload_date: str | None = None
    duration: float | None = None
    chapters: tuple[Chapter, ...] = ()
    webpage_url: str | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that the job spent in each stage; None for one that it did not reach."""

    fetch: float | None = None
    decode: float | None = None
    segment: float | None = None
    wait: float | None = None
    inference: float | None = None
    publish: float | None = None


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """Why the job failed: a code of the contract, and words for a person."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The contents of `result.json`.

    Attributes:
        source: Without credentials; None when the message named none that can be read.
        language: Whisper code; None without speech or when the job failed.
        duration: Seconds of the decoded audio.
        speech_duration: Seconds of it that were taken for speech.
        attempts: Receives of the message so far.
        origin: Id of the first message of this job's line of copies.
        finished_at: UTC, ISO 8601.
        metadata: The message's own, untouched.
        warnings: What a success does not show by itself; see `JobWarning`.
    """

    job_id: str
    status: Literal["succeeded", "failed"]
    source: str | None
    output: str
    language: str | None = None
    duration: float | None = None
    speech_duration: float | None = None
    artifacts: tuple[Artifact, ...] = ()
    model: ModelFacts | None = None
    attempts: int = 1
    origin: str | None = None
    timings: Timings = field(default_factory=Timings)
    worker: WorkerFacts
    finished_at: str
    metadata: Any = None
    media: Media = field(default_factory=Media)
    warnings: tuple[JobWarning, ...] = ()
    error: ErrorFacts | None = None
    version: int = VERSION

    @property
    def succeeded(self) -> bool:
        """Whether the job has a transcript."""
        return self.status == "succeeded"

    def to_json(self) -> bytes:
        """UTF-8 JSON, the keys in the contract's order."""
        record = {"version": self.version} | asdict(self)
        return (json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, body: bytes) -> Result:
        """Reads a `result.json`; fields that this version does not know are ignored.

        Raises:
            ValueError: It is not one, or one of another major version.
        """
        try:
            return cls._read(json.loads(body))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a result: {type(error).__name__}: {error}") from None

    @classmethod
    def _read(cls, record: dict[str, Any]) -> Result:
        if record["version"] != VERSION:
            raise ValueError(f"a result of version {record['version']!r}; this sqscribe reads version {VERSION}")
        if record["status"] not in ("succeeded", "failed"):
            raise ValueError(f"a result of unknown status {record['status']!r}")
        plain: dict[str, Any] = {
            name: record.get(name)
            for name in ("source", "language", "duration", "speech_duration", "origin", "metadata")
        }
        return cls(
            **plain,
            job_id=record["job_id"],
            status=record["status"],
            output=record["output"],
            artifacts=tuple(_made(Artifact, artifact) for artifact in record["artifacts"]),
            model=_made(ModelFacts, record["model"]) if record.get("model") else None,
            attempts=record["attempts"],
            timings=_made(Timings, record.get("timings") or {}),
            worker=_made(WorkerFacts, record["worker"]),
            finished_at=record["finished_at"],
            media=_media(record.get("media") or {}),
            warnings=tuple(_made(JobWarning, warning) for warning in record.get("warnings") or ()),
            error=_made(ErrorFacts, record["error"]) if record.get("error") else None,
        )


def _media(record: Mapping[str, Any]) -> Media:
    chapters = tuple(_made(Chapter, chapter) for chapter in record.get("chapters") or ())
    return replace(_made(Media, record), chapters=chapters)


def _made(kind: type[T], record: Mapping[str, Any]) -> T:
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]  # every kind here is a dataclass
    return kind(**{name: record[name] for name in names if name in record})
