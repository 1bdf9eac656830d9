# SPDX-License-Identifier: Apache-2.0
"""The job: what a message asks for, every option resolved."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from sqscribe.errors import PermanentCode, PermanentError
from sqscribe.formats import MASTER, RenderOptions
from sqscribe.tuning import Tuning, canonical
from sqscribe.urls import without_presigned

__all__ = ["JOB_ID", "Job", "JobDefaults", "JobMessageError", "JobRef", "derived_job_id"]

#: What a job id looks like.
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Hex digits of a derived job id.
DERIVED_DIGITS = 32


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What the worker's settings say where a message is silent.

    Attributes:
        output: `s3://bucket/prefix`; None where every message has to name its own.
        formats: The master need not be among them.
        beam_size: 1 to 10.
    """

    output: str | None
    formats: tuple[str, ...] = (MASTER,)
    beam_size: int = 5


@dataclass(frozen=True, slots=True)
class JobRef:
    """The part of a job that a record of its failure needs; known even where the rest of the message cannot be read.

    Attributes:
        output: As `Job.output`.
        source: None where the message names none that can be read.
    """

    job_id: str
    output: str
    source: str | None = field(default=None, repr=False)
    metadata: Any = None

    def url(self, name: str) -> str:
        """Address of the job's object `name`."""
        return f"{self.output}/{self.job_id}/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, valid and complete. Made by `sqscribe.job_message.parse_job`.

    Attributes:
        source: `http(s)://`, `data:`, or `s3://bucket/key` with the key as it is. May hold secrets: see `urls.redact`.
        job_id: The same id is the same job.
        output: `s3://bucket/prefix` without a slash at its end.
        formats: The master's first, then those asked for, each once.
        language: Whisper code; `multi`: per window; None: detected per job.
        task: `transcribe` or `translate`.
        initial_prompt: Never blank.
        hotwords: Never blank.
        beam_size: 1 to 10.
        vad: False decodes every second.
        track: Which audio track, from 0; `all`: each by itself; None: the decoder chooses.
        channels: `mix`; `split`: each by itself.
        start: Seconds of the file at which the wanted part begins.
        end: Seconds of the file at which it ends; None for the file's end.
        tuning: How its text is looked for.
        metadata: Any JSON value; comes back untouched.
        force: Replaces a result that exists.
        object_version: Version id of the source object, where an S3 event named it.
        object_etag: ETag of the source object without quotes, where an S3 event named it.
    """

    source: str = field(repr=False)
    job_id: str
    output: str
    formats: tuple[str, ...] = (MASTER,)
    language: str | None = None
    task: str = "transcribe"
    word_timestamps: bool = False
    initial_prompt: str | None = None
    hotwords: str | None = None
    beam_size: int = 5
    vad: bool = True
    track: int | Literal["all"] | None = None
    channels: str = "mix"
    start: float = 0.0
    end: float | None = None
    tuning: Tuning = field(default_factory=Tuning)
    metadata: Any = None
    force: bool = False
    object_version: str | None = None
    object_etag: str | None = None

    @property
    def ref(self) -> JobRef:
        """The part that a record of its failure needs."""
        return JobRef(self.job_id, self.output, self.source, self.metadata)

    @property
    def render_options(self) -> RenderOptions:
        """The options that its formats depend on."""
        return RenderOptions(task=self.task, word_timestamps=self.word_timestamps)

    def url(self, name: str) -> str:
        """Address of the job's object `name`."""
        return f"{self.output}/{self.job_id}/{name}"

    def body(self) -> str:
        """A message body that makes this very job again, whatever the worker's defaults are.

        ASCII only, because SQS refuses some characters that a JSON string may hold.
        """
        message: dict[str, object] = {
            "version": 1,
            "source": self.source,
            "job_id": self.job_id,
            "output": self.output,
            "formats": list(self.formats),
            "task": self.task,
            "word_timestamps": self.word_timestamps,
            "beam_size": self.beam_size,
            "vad": self.vad,
            "channels": self.channels,
            "force": self.force,
            **self.tuning.fields(),
        }
        optional = {
            "language": self.language,
            "initial_prompt": self.initial_prompt,
            "hotwords": self.hotwords,
            "track": self.track,
            "start": self.start or None,
            "end": self.end,
            "metadata": self.metadata,
            "object": {"version_id": self.object_version, "etag": self.object_etag}
            if self.object_version or self.object_etag
            else None,
        }
        message |= {name: value for name, value in optional.items() if value is not None}
        return json.dumps(message, allow_nan=False)


class JobMessageError(PermanentError):
    """A message that cannot become a job, with the fields that can be read all the same.

    Attributes:
        job_id: The message's own id, or the derived one where all that shapes it is valid; else None.
        output: The message's own, if it is valid.
        source: If it is valid.
        metadata: If it is valid.
    """

    def __init__(
        self,
        code: PermanentCode,
        message: str,
        *,
        job_id: str | None = None,
        output: str | None = None,
        source: str | None = None,
        metadata: Any = None,
    ) -> None:
        super().__init__(code, message)
        self.job_id = job_id
        self.output = output
        self.source = source
        self.metadata = metadata


def derived_job_id(
    source: str,
    *,
    language: str | None = None,
    task: str = "transcribe",
    initial_prompt: str | None = None,
    hotwords: str | None = None,
    beam_size: int | None = None,
    vad: bool = True,
    track: int | str | None = None,
    channels: str = "mix",
    start: float = 0.0,
    end: float | None = None,
    tuning: Tuning | None = None,
    object_identity: str | None = None,
) -> str:
    """The id of a job whose message names none: the same options for the same source give the same id.

    The first 32 hex digits of the SHA-256 of canonical JSON (keys sorted, no spaces, UTF-8, integral numbers as
    integers) of the arguments that differ from their default, under the message's field names.

    Args:
        source: Query parameters that only sign it are left out.
        language: As in the message.
        task: As in the message.
        initial_prompt: As in the message.
        hotwords: As in the message.
        beam_size: None also where the message names the default.
        vad: As in the message.
        track: As in the message.
        channels: As in the message.
        start: Seconds.
        end: Seconds.
        tuning: None where the message says nothing of it.
        object_identity: `object` of an S3 event: the object's version id or ETag.
    """
    shaping: dict[str, object] = {"source": without_presigned(source)}
    options: tuple[tuple[str, Any, Any], ...] = (
        ("language", language, None),
        ("task", task, "transcribe"),
        ("initial_prompt", initial_prompt, None),
        ("hotwords", hotwords, None),
        ("beam_size", beam_size, None),
        ("vad", vad, True),
        ("track", track, None),
        ("channels", channels, "mix"),
        ("start", canonical(start), 0),
        ("end", canonical(end), None),
        ("object", object_identity, None),
    )
    shaping |= {name: value for name, value, default in options if value != default}
    shaping |= (tuning or Tuning()).fields()
    text = json.dumps(shaping, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DERIVED_DIGITS]
