# SPDX-License-Identifier: Apache-2.0
"""From the name of a model in the settings to what the inference process is built with."""

from __future__ import annotations

import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog
from boto3.exceptions import Boto3Error as BotoError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from sqscribe import bundled
from sqscribe.errors import NodeFaultError, SettingsError
from sqscribe.logs import LogFormat
from sqscribe.urls import split_s3
from stages.inference.client.client import DEFAULT_DECODER
from stages.inference.engine.control import read_clip
from stages.inference.protocol import RANDOM_MARK, ControlClip, EngineSettings
from stages.inference.whisper.known_models import english_is_known
from stages.ports import Cancellation
from worker.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = [
    "DEMO",
    "ENGINES",
    "REQUIRED_FILES",
    "SIMULATED",
    "EngineKind",
    "check_folder",
    "decoder_of",
    "download_model",
    "engine_kind",
    "engine_settings",
    "names_folder",
]

log = structlog.get_logger()

#: Name of the bundled model.
DEMO = "demo"
#: What the engine's process loads in place of a Whisper decoder for a simulated model.
SIMULATED = "worker.testing.decoder:SimulatedDecoder.load"
#: The files that a CTranslate2 model cannot do without.
REQUIRED_FILES = ("config.json", "model.bin", "tokenizer.json")
#: Bytes between two looks at the cancellation: on a slow line the usual quarter of a megabyte takes long.
_PIECES = TransferConfig(io_chunksize=64 * 1024)
#: Answers below 500 that pass: time-outs, conflicts and too many requests.
_PASSING = frozenset({408, 409, 425, 429})
#: Share of the control clip's words that may be wrong. A model for real speech understands its synthetic voice with
#: errors (and writes numbers as digits); with a broken device, no word is right.
CONTROL_ERROR_RATE = 0.85
#: The same for a clip that the settings name: it is in the model's own language, and real speech.
OWN_CLIP_ERROR_RATE = 0.5


@dataclass(frozen=True, slots=True)
class EngineKind:
    """An engine that models are named for by a prefix; what follows the prefix is for its decoder alone.

    Attributes:
        decoder: What its process loads, as `package.module:name` of a callable that takes `EngineSettings`.
        transcribes: Whether it turns speech into its text, so that the control clip can show whether the device works.
        files: Of the folder that follows the prefix, those that it cannot do without; none: no folder follows.
        holds: What such a folder is called.
    """

    decoder: str
    transcribes: bool = True
    files: tuple[str, ...] = ()
    holds: str = ""


# The one list of engines. A model without any of these prefixes is Whisper's.
_ENGINES = {
    # A testing aid: a query string follows, as `worker.testing.decoder.Simulation` reads it.
    "simulated": EngineKind(SIMULATED, transcribes=False),
    "parakeet": EngineKind(
        "stages.inference.parakeet.decoder:ParakeetDecoder.load",
        files=("config.json", "model.safetensors", "tokenizer.json"),
        holds="Parakeet-TDT model in transformers' form",
    ),
}

#: By the prefix of the model's name, without the colon.
ENGINES: Mapping[str, EngineKind] = MappingProxyType(_ENGINES)


def download_model(
    s3_client: Callable[[], S3Client], url: str, folder: Path, cancellation: Cancellation | None = None
) -> None:
    """Brings every object below an `s3://bucket/prefix` to a folder.

    Args:
        s3_client: Makes the client.
        url: The model's.
        folder: That is there.
        cancellation: Ends the download in the middle of a file.

    Raises:
        Cancelled: It was called off.
        NodeFaultError: The store cannot be reached.
        SettingsError: There is no object, or access is refused.
    """
    bucket, prefix = split_s3(url)
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    cancellation = cancellation or Cancellation()
    client, found = s3_client(), 0

    def advanced(_bytes: int) -> None:
        cancellation.check()

    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                name = item["Key"].removeprefix(prefix)
                # A model is a flat folder; anything else below the prefix is none of ours, nor may it leave `folder`.
                if name and "/" not in name and name not in (".", ".."):
                    cancellation.check()
                    client.download_file(bucket, item["Key"], str(folder / name), Callback=advanced, Config=_PIECES)
                    found += 1
    except (BotoCoreError, ClientError, BotoError) as error:
        if _refused(error):
            raise SettingsError(
                f"SQSCRIBE_MODEL: {url} cannot be read: {error}; check that it exists and that the worker may list and"
                " read it"
            ) from error
        raise NodeFaultError(f"model {url} cannot be downloaded: {error}") from error
    if not found:
        raise SettingsError(f"SQSCRIBE_MODEL: nothing stands below {url}")


def _refused(error: Exception) -> bool:
    """Whether another try changes nothing: the store has answered, and it is not its own fault."""
    if not isinstance(error, ClientError):
        return False
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 400 <= status < 500 and status not in _PASSING


def decoder_of(model: str) -> str:
    """What the engine's process loads for a model of this name: `package.module:name`."""
    kind = engine_kind(model)
    return kind.decoder if kind else DEFAULT_DECODER


def engine_kind(model: str) -> EngineKind | None:
    """The engine that a model is named for by a prefix; None: Whisper's."""
    prefix, separator, _ = model.partition(":")
    return ENGINES.get(prefix) if separator else None


def engine_settings(
    settings: Settings, fetch: Callable[[str, Path], None], scratch: Path, log_format: LogFormat
) -> EngineSettings:
    """Resolves the model and gives the engine's settings.

    Args:
        settings: The worker's.
        fetch: Brings a model in S3 to a folder.
        scratch: Where such a model is kept while the worker runs.
        log_format: Of the engine's process.

    Raises:
        SettingsError: A folder was named that holds no model.
        NodeFaultError: The store with the model cannot be reached.
    """
    model = settings.model
    kind = engine_kind(model)
    if kind:
        model = model.partition(":")[2]
        if kind.files:
            check_folder(settings.model, Path(model))
    elif model == DEMO:
        model = str(bundled.model_path())
    elif model.startswith("s3://"):
        folder = scratch / "model"
        folder.mkdir(parents=True, exist_ok=True)
        log.info("model_download_started", model=model)
        fetch(model, folder)
        model = str(folder)
    if not kind and (names_folder(model) or settings.model.startswith("s3://")):
        check_folder(settings.model, Path(model))
    return EngineSettings(
        model=model,
        # What follows the prefix of an engine that does not transcribe is no name of a model.
        name=settings.model if not kind or kind.transcribes else settings.model.partition(":")[0],
        revision=settings.model_revision,
        device=settings.device,
        device_index=settings.device_index,
        compute_type=settings.compute_type,
        batch_size=settings.batch_size,
        cpu_threads=settings.cpu_threads,
        beam_size=settings.beam_size,
        encoder=settings.encoder,
        # Neither a simulated model nor one with random weights can transcribe the control clip.
        control=None
        if (kind and not kind.transcribes) or (Path(model) / RANDOM_MARK).is_file()
        else _control_clip(settings),
        log_level=settings.log_level,
        log_format=log_format,
    )


def _control_clip(settings: Settings) -> ControlClip:
    """The settings' own clip, or the bundled one.

    Raises:
        SettingsError: The clip cannot be used, or has no text, or there is a text without a clip.
    """
    if settings.control_clip is not None or settings.control_text is not None:
        return _own_clip(settings.control_clip, settings.control_text)
    clip = bundled.control_clip()
    if settings.model == DEMO:
        return ControlClip(str(clip.path), clip.text, clip.max_error_rate)
    # Who trained a folder, and for which language, only its owner knows.
    return ControlClip(str(clip.path), clip.text, CONTROL_ERROR_RATE, must_understand=english_is_known(settings.model))


def _own_clip(path: Path | None, text: str | None) -> ControlClip:
    if path is None or text is None or not text.strip():
        raise SettingsError("SQSCRIBE_CONTROL_CLIP and SQSCRIBE_CONTROL_TEXT go together: a recording and its words")
    try:
        read_clip(path)
    except (OSError, EOFError, ValueError, wave.Error) as error:
        raise SettingsError(
            f"SQSCRIBE_CONTROL_CLIP: {path} cannot be used ({error}); "
            "`ffmpeg -i RECORDING -t 30 -ac 1 -ar 16000 -c:a pcm_s16le CLIP.wav` makes one that can"
        ) from None
    return ControlClip(str(path), text, OWN_CLIP_ERROR_RATE, language=None)


def names_folder(model: str) -> bool:
    """Whether the name of a model is that of a folder on this machine, be it there or not."""
    return Path(model).is_dir() or model.startswith((".", "/"))


def check_folder(name: str, folder: Path) -> None:
    """Refuses a folder that holds no model.

    Raises:
        SettingsError: It is not there, or lacks a file.
    """
    kind = engine_kind(name)
    files, holds = (kind.files, kind.holds) if kind else (REQUIRED_FILES, "CTranslate2 Whisper model")
    if not folder.is_dir():
        raise SettingsError(f"SQSCRIBE_MODEL: {name} is no folder; nothing stands there")
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise SettingsError(f"SQSCRIBE_MODEL: {name} holds no {holds}: {', '.join(missing)} missing")
