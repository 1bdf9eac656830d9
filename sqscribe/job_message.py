# SPDX-License-Identifier: Apache-2.0
"""The fields of a job message and the rules that each must keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator
from pydantic_core import ErrorDetails

from sqscribe.errors import ErrorCode, PermanentCode
from sqscribe.formats import ARTIFACTS, MASTER
from sqscribe.job import JOB_ID, Job, JobDefaults, JobMessageError, derived_job_id
from sqscribe.message_faults import fault_text, shown
from sqscribe.sources import SCHEMES_SHOWN, SourceScheme, checked_source
from sqscribe.tuning_fields import TuningFields, checked_language
from sqscribe.urls import split_s3

__all__ = ["JobMessage", "parse_job"]

#: Bytes of `metadata` as compact JSON.
METADATA_BYTES = 16 * 1024
#: Lists and objects of `metadata` inside each other; writing deeper ones would exhaust Python's stack.
METADATA_DEPTH = 100
#: The engine counts tokens and takes 223; no token has more than 128 characters, so a longer text never fits.
PROMPT_CHARACTERS = 223 * 128
#: Bytes of the output's prefix; with job id and name the key stays below S3's 1,024.
PREFIX_BYTES = 800
#: Ten years: no recording is longer, and ffmpeg's arithmetic stays exact.
LATEST_SECONDS = 315_360_000
#: Members of an object, and different formats, that are looked at. There are not as many; the rest of a huge message
#: would only cost time and memory.
MOST_MEMBERS = 100
#: Faults that one error message names.
FAULTS_NAMED = 5

#: Formats of the contract; those without a renderer are unsupported.
LATER_FORMATS = frozenset({"html"})

#: Where `track` says that each is transcribed.
ALL_TRACKS: Literal["all"] = "all"
#: No file has as many; a larger number is a mistake.
LAST_TRACK = 999

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode (it holds half of a surrogate pair)") from None
    return value


def _prompt(value: str) -> str | None:
    return value if value.strip() else None


def _job_id(value: str) -> str:
    if not JOB_ID.fullmatch(value):
        raise ValueError("must have 1 to 128 of the characters A-Z a-z 0-9 . _ - and begin with a letter or a digit")
    return value


def _output(value: str) -> str:
    bucket, prefix = split_s3(value.rstrip("/"))
    if not prefix:
        return f"s3://{bucket}"
    if _UNPRINTABLE.search(prefix):
        raise ValueError("holds control characters")
    if not {"", ".", ".."}.isdisjoint(prefix.split("/")):
        raise ValueError("must not have empty, '.' or '..' parts in its prefix")
    if len(prefix.encode()) > PREFIX_BYTES:
        raise ValueError(f"has a prefix of more than {PREFIX_BYTES} bytes")
    return f"s3://{bucket}/{prefix}"


def _format(value: str) -> str:
    if value not in ARTIFACTS and value not in LATER_FORMATS:
        raise ValueError(f"{shown(value)} is no format; known are {', '.join(ARTIFACTS)}")
    return value


def _language(value: str) -> str:
    return value if value == "multi" else checked_language(value, ", nor 'multi'")


def _track(value: Any) -> int | Literal["all"] | None:
    if value is None or value == ALL_TRACKS or (type(value) is int and 0 <= value <= LAST_TRACK):
        return cast("int | Literal['all'] | None", value)
    raise ValueError(f"must be the number of an audio track, from 0 to {LAST_TRACK}, or '{ALL_TRACKS}'")


def _metadata(value: Any) -> Any:
    level, depth = [value], 0
    while level := [item for outer in level for item in _inside(outer)]:
        depth += 1
        if depth > METADATA_DEPTH:
            raise ValueError(f"is nested more than {METADATA_DEPTH} levels deep")
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode (it holds half of a surrogate pair)") from None
    except (ValueError, TypeError):
        raise ValueError("must be JSON with finite numbers") from None
    if size > METADATA_BYTES:
        raise ValueError(f"has {size} bytes as JSON; at most {METADATA_BYTES} come back with the result")
    return value


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case Mapping():
            return value.values()
        case list() | tuple():
            return value
        case _:
            return ()


_Text = Annotated[str, AfterValidator(_text)]
_Prompt = Annotated[str, Field(max_length=PROMPT_CHARACTERS), AfterValidator(_text), AfterValidator(_prompt)]
_Seconds = Annotated[float, Field(ge=0, le=LATEST_SECONDS, allow_inf_nan=False)]


class ObjectMessage(BaseModel):
    """Which version of an S3 object is meant."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    version_id: Annotated[_Text, Field(min_length=1, max_length=1024)] | None = None
    etag: Annotated[_Text, Field(min_length=1, max_length=1024)] | None = None

    @property
    def identity(self) -> str | None:
        """The version's id, or the ETag of an object without versions."""
        return self.version_id or self.etag


class JobMessage(TuningFields):
    """The fields as the contract names them. None stands for a field that is absent or null."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    source: Annotated[_Text, AfterValidator(checked_source)]
    job_id: Annotated[str, AfterValidator(_job_id)] | None = None
    output: Annotated[_Text, AfterValidator(_output)] | None = None
    formats: list[Annotated[str, AfterValidator(_format)]] | None = None
    language: Annotated[str, AfterValidator(_language)] | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    word_timestamps: bool = False
    initial_prompt: _Prompt | None = None
    hotwords: _Prompt | None = None
    beam_size: Annotated[int, Field(ge=1, le=10)] | None = None
    track: Annotated[int | Literal["all"] | None, PlainValidator(_track)] = None
    channels: Literal["mix", "split"] = "mix"
    start: _Seconds | None = None
    end: _Seconds | None = None
    subtitles: dict[str, Any] | None = None
    webhook: _Text | None = None
    progress: bool = False
    metadata: Annotated[Any, AfterValidator(_metadata)] = None
    force: bool = False
    version: Annotated[int, Field(ge=1, le=1)] = 1
    object: ObjectMessage | None = None

    @model_validator(mode="after")
    def _together(self) -> JobMessage:
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError("end: must be greater than start")
        if self.languages is not None and self.language not in {None, "multi"}:
            raise ValueError("languages: are candidates for detection, and language names one already")
        if self.object is not None and self.scheme != SourceScheme.S3:
            raise ValueError("object: goes with an s3:// source alone")
        return self

    def unsupported(self) -> list[str]:
        """Each thing that it asks for and this version of sqscribe lacks, with the field's name."""
        unwritten = sorted(set(self.formats or ()) - set(ARTIFACTS))
        faults = {
            f"formats: {', '.join(map(repr, unwritten))} is not written by this version": unwritten,
            "subtitles: this version knows no limits but its own": self.subtitles is not None,
            "webhook: this version calls none": self.webhook is not None,
            "progress: this version writes no partial.json": self.progress,
            "word_timestamps: a translation's words have no times": self.word_timestamps and self.task == "translate",
        }
        return [text for text, asked in faults.items() if asked]

    @property
    def scheme(self) -> str:
        """The scheme of the source, in lower case."""
        return self.source.partition(":")[0]

    def id(self, default_beam_size: int) -> str:
        """The job's own id, or the derived one."""
        return self.job_id or derived_job_id(
            self.source,
            language=self.language,
            task=self.task,
            initial_prompt=self.initial_prompt,
            hotwords=self.hotwords,
            beam_size=None if self.beam_size == default_beam_size else self.beam_size,
            vad=self.vad is not False,
            track=self.track,
            channels=self.channels,
            start=self.start or 0.0,
            end=self.end,
            tuning=self.tuning,
            object_identity=self.object.identity if self.object else None,
        )


def parse_job(raw: Mapping[str, Any], defaults: JobDefaults) -> Job:
    """Makes a job of the fields of a message.

    Besides the contract's fields it takes `object` with `version_id` and `etag`: which version of the S3 object is
    meant. Jobs made from S3 events carry it.

    Args:
        raw: As `json.loads` gives it; nothing is converted ("5" is not 5, true is not 1).
        defaults: For what the message does not say.

    Raises:
        JobMessageError: `bad_message` names every field at fault and why; `unsupported_option` an option that this
            version lacks; `source_blocked` a scheme that is never fetched.
    """
    try:
        message = JobMessage.model_validate(_narrowed(raw))
    except ValidationError as error:
        raise _bad(raw, error.errors(include_url=False)) from None
    job_id = message.id(defaults.beam_size)
    output = message.output or defaults.output

    def refused(code: PermanentCode, text: str) -> JobMessageError:
        return JobMessageError(
            code, text, job_id=job_id, output=message.output, source=message.source, metadata=message.metadata
        )

    unsupported = message.unsupported()
    if unsupported:
        raise refused(ErrorCode.UNSUPPORTED_OPTION, "; ".join(unsupported))
    if message.scheme not in frozenset(SourceScheme):
        raise refused(
            ErrorCode.SOURCE_BLOCKED,
            f"source: {shown(message.scheme)} addresses are not fetched; use {SCHEMES_SHOWN}",
        )
    if output is None:
        raise refused(ErrorCode.BAD_MESSAGE, "output: is required, because no default (SQSCRIBE_OUTPUT) is set")
    return Job(
        source=message.source,
        job_id=job_id,
        output=output,
        formats=tuple(dict.fromkeys([MASTER, *(defaults.formats if message.formats is None else message.formats)])),
        language=message.language,
        task=message.task,
        word_timestamps=message.word_timestamps,
        initial_prompt=message.initial_prompt,
        hotwords=message.hotwords,
        beam_size=message.beam_size or defaults.beam_size,
        vad=message.vad is not False,
        track=message.track,
        channels=message.channels,
        start=message.start or 0.0,
        end=message.end,
        tuning=message.tuning,
        metadata=message.metadata,
        force=message.force,
        object_version=message.object.version_id if message.object else None,
        object_etag=message.object.etag if message.object else None,
    )


def _narrowed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields; of far too many members or formats only some, which are refused all the same."""
    known = {name: value for name, value in raw.items() if name in JobMessage.model_fields}
    unknown = {name: raw[name] for name in islice((name for name in raw if name not in known), MOST_MEMBERS)}
    few = {name: value if name == "metadata" else _some(value) for name, value in (known | unknown).items()}
    if isinstance(formats := raw.get("formats"), list):
        few["formats"] = formats if len(formats) <= MOST_MEMBERS else _different(formats)
    return few


def _some(value: Any) -> Any:
    return dict(islice(value.items(), MOST_MEMBERS)) if isinstance(value, Mapping) else value


def _different(values: list[Any]) -> list[Any]:
    texts = dict.fromkeys(value for value in values if isinstance(value, str))
    others = (value for value in values if not isinstance(value, str))
    return [*islice(others, MOST_MEMBERS), *islice(texts, MOST_MEMBERS)]


def _bad(raw: Mapping[str, Any], faults: list[ErrorDetails]) -> JobMessageError:
    texts = [fault_text(fault, JobMessage.model_fields) for fault in faults[:FAULTS_NAMED]]
    if len(faults) > FAULTS_NAMED:
        texts.append(f"and {len(faults) - FAULTS_NAMED} more")
    broken = {fault["loc"][0] for fault in faults if fault["loc"]}
    sound = {name: value for name, value in raw.items() if name not in broken}
    output = sound.get("output")
    return JobMessageError(
        ErrorCode.BAD_MESSAGE,
        "; ".join(texts),
        job_id=sound.get("job_id"),
        output=_output(output) if output else None,
        source=sound.get("source"),
        metadata=sound.get("metadata"),
    )
