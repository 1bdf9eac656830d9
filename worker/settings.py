# SPDX-License-Identifier: Apache-2.0
"""The worker's settings: one frozen object, read once from flags, the environment and `.env`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sqscribe.errors import SettingsError
from sqscribe.formats import ARTIFACTS, MASTER
from sqscribe.urls import split_s3

__all__ = ["ENV_PREFIX", "Settings", "read_settings"]

ENV_PREFIX = "SQSCRIBE_"


def _auto(value: Any) -> Any:
    """Reads `auto`, in upper or lower case, as None."""
    return None if isinstance(value, str) and value.strip().lower() == "auto" else value


def _listed(value: Any) -> Any:
    """Reads `a, b` as ("a", "b")."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


AutoInt = Annotated[int | None, BeforeValidator(_auto)]
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """Everything that can be set. Durations in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    queue_url: str | None = Field(None, description="The SQS queue to work on. Required for `worker`.")
    dead_letter_queue_url: str | None = Field(
        None, description="Where messages that fail for good are copied. Default: the queue's redrive target."
    )
    max_receives: int | None = Field(
        None, ge=1, description="Receives after which a transient failure is final. Default: the queue's, else 10."
    )
    output: str | None = Field(None, description="Where results go: s3://bucket/prefix. Required for `worker`.")
    allowed_buckets: Listed | None = Field(
        None, description="Buckets that messages may read from and write to. Default: any."
    )
    conditional_writes: Literal["auto", "off"] = Field(
        "auto", description="`off` for stores without If-None-Match: look first, last writer wins."
    )
    s3_access_key_id: str | None = Field(None, description="Storage's own credentials, where they are not SQS's.")
    s3_secret_access_key: str | None = Field(None, description="See s3-access-key-id.", repr=False)
    s3_region: str | None = Field(None, description="Storage's own region.")
    s3_endpoint_url: str | None = Field(None, description="Storage's own endpoint, where objects are not on AWS.")
    s3_checksums: Literal["auto", "when_supported", "when_required"] = Field(
        "auto", description="When checksums go along with objects. `auto`: on AWS when supported, else when required."
    )
    s3_requester_pays: bool = Field(
        default=False, description="Pay for requests to buckets whose owner has the requester pay."
    )

    formats: Listed = Field((MASTER,), description="Formats of jobs that name none, comma-separated.")
    model: str = Field(
        "large-v3-turbo",
        description="A faster-whisper name, a CTranslate2 folder, s3://bucket/prefix, `demo` (the bundled one), "
        "`parakeet:FOLDER` (experimental), or `simulated:` (none; for tests).",
    )
    model_revision: str | None = Field(None, description="Revision of a named model. Default: the newest.")
    device: Literal["auto", "cuda", "cpu"] = Field("auto", description="Where the model runs.")
    device_index: int = Field(
        0, ge=0, description="Of several GPUs, the one to work on, as nvidia-smi counts. One worker has one GPU."
    )
    compute_type: str | None = Field(
        None, description="As CTranslate2. Default: float16 on CUDA if the GPU has it and room, int8 on CPU."
    )
    batch_size: AutoInt = Field(None, ge=1, le=1024, description="Windows of one batch, or `auto`.")
    beam_size: int = Field(5, ge=1, le=10, description="Beam of jobs that name none.")
    encoder: Literal["auto", "torch", "ctranslate2"] = Field(
        "auto", description="What computes the model's encoder. `auto`: CTranslate2, until torch is measured on a GPU."
    )
    control_clip: Path | None = Field(
        None,
        description="WAV (16 kHz, mono, 16 bit, at most 30 s) that the model must understand at its start. Default: "
        "the bundled one, in English.",
    )
    control_text: str | None = Field(None, description="What is said in control-clip.")
    cpu_threads: AutoInt = Field(None, ge=1, description="Threads of the engine on CPU, or `auto`.")

    downloaders: int = Field(3, ge=1, le=64, description="Threads that fetch, decode and segment.")
    uploaders: int = Field(2, ge=1, le=64, description="Threads that publish results.")
    buffer_seconds: float = Field(
        7200, gt=0, description="Prepared audio that may wait; more is not received (one job of any length is)."
    )
    scratch_dir: Path | None = Field(None, description="Where audio is kept. Default: a fresh temporary folder.")
    scratch_bytes: int | None = Field(None, ge=1 << 20, description="Scratch to use. Default: 80 % of what is free.")
    visibility_timeout: int = Field(300, ge=2, le=43_200, description="The lease, renewed at half of it or earlier.")
    checkpoint_seconds: float = Field(60, gt=0, description="How often a long job's finished work is saved.")
    shutdown_grace: float = Field(25, gt=0, description="From SIGTERM to the last exit.")
    engine_stall_seconds: float = Field(300, gt=0, description="Without progress, the engine is replaced.")
    engine_recycle_windows: int = Field(0, ge=0, description="The engine is replaced after so many windows; 0: never.")
    max_source_bytes: int = Field(8 << 30, ge=1, description="Larger sources are refused.")
    max_duration: float = Field(43_200, gt=0, description="Longer audio is refused.")
    allow_private_sources: bool = Field(
        default=False, description="Allow sources on private and loopback addresses; never the metadata address."
    )
    ytdlp_extractors: Listed | None = Field(
        None, description="Sites whose pages are read, by yt-dlp's names, or `all`. Default: a list of sqscribe's own."
    )
    ytdlp_generic: bool = Field(default=False, description="Search pages of any other site for a recording too.")
    ytdlp_cookies: Path | None = Field(
        None, description="Cookies for pages: a file in Netscape's format, read at the start."
    )
    ytdlp_proxy: str | None = Field(None, repr=False, description="Proxy for pages: http://user:password@host:port.")
    http_port: int = Field(8080, ge=0, le=65_535, description="Health and metrics, bound to `::`; 0 turns it off.")
    log_format: Literal["json", "console"] | None = Field(
        None, description="Default: `json` off a terminal, `console` on one."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lines below are not written.")
    trace: Path | None = Field(
        None, description="File that gets a line for each stage and batch: what took how long. For `sqscribe bench`."
    )
    exit_when_idle: float = Field(0, ge=0, description="End after so many seconds with nothing to do; 0: never.")

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("output")
    @classmethod
    def _prefix(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            split_s3(value)
        except ValueError as error:
            raise ValueError(f"must be s3://bucket or s3://bucket/prefix: {error}") from None
        return value.rstrip("/")

    @field_validator("formats")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(ARTIFACTS))
        if unknown:
            raise ValueError(f"unknown format {', '.join(unknown)}; known are {', '.join(ARTIFACTS)}")
        return value


def read_settings(**overrides: Any) -> Settings:
    """Reads the settings: flags over environment over `.env` over defaults.

    Args:
        **overrides: Values of flags by field name; None is a flag that was not given.

    Raises:
        SettingsError: A value cannot be used; the message names each variable, what is wrong and what was given.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [
            f"{ENV_PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']} (given: {_shown(fault)})"
            for fault in error.errors()
        ]
        raise SettingsError("; ".join(lines)) from None


def _shown(fault: Any) -> str:
    """The value that cannot be used, unless it is a secret."""
    return "…" if "secret" in str(fault["loc"][0]) else repr(fault["input"])
