# SPDX-License-Identifier: Apache-2.0
"""From the name of a model in the settings to what the inference process is built with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from sqscribe import bundled
from sqscribe.errors import NodeFaultError, SettingsError
from sqscribe.logs import LogFormat
from sqscribe.urls import split_s3
from stages.inference.protocol import ControlClip, EngineSettings
from worker.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["RANDOM_MARK", "SIMULATED", "download_model", "engine_settings", "is_simulated"]

log = structlog.get_logger()

#: Name of the bundled model.
DEMO = "demo"
#: What the engine's process loads in place of a Whisper decoder for a simulated model.
SIMULATED = "worker.testing.decoder:SimulatedDecoder.load"
#: What comes before the query string of a simulated model: see `worker.testing.decoder.Simulation`.
SIMULATED_PREFIX = "simulated:"
#: A file beside a model's own that says that its weights are random, as the benchmark's are: it hears nothing, so that
#: no recording can show whether the device works.
RANDOM_MARK = "random-weights"
#: What a model must have: CTranslate2's own files.
REQUIRED_FILES = ("config.json", "model.bin", "tokenizer.json")
#: A model for real speech hears the synthetic voice of the control clip with errors (and writes numbers as digits);
#: a broken device gives nothing or noise, all of it errors.
CONTROL_ERROR_RATE = 0.85


def download_model(s3_client: Callable[[], S3Client], url: str, folder: Path) -> None:
    """Brings every object below an `s3://bucket/prefix` to a folder.

    Raises:
        NodeFaultError: The store cannot be reached, or refuses access.
        SettingsError: Nothing stands there.
    """
    bucket, prefix = split_s3(url)
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    client, found = s3_client(), 0
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                name = item["Key"].removeprefix(prefix)
                # A model is a flat folder; anything else below the prefix is none of ours, nor may it leave `folder`.
                if name and "/" not in name and name not in (".", ".."):
                    client.download_file(bucket, item["Key"], str(folder / name))
                    found += 1
    except (BotoCoreError, ClientError) as error:
        raise NodeFaultError(f"model {url} cannot be downloaded: {error}") from error
    if not found:
        raise SettingsError(f"SQSCRIBE_MODEL: nothing stands below {url}")


def is_simulated(model: str) -> bool:
    """Whether `SQSCRIBE_MODEL` names a simulated model, whose text is a digest of the audio: a testing aid."""
    return model.startswith(SIMULATED_PREFIX)


def engine_settings(
    settings: Settings, fetch: Callable[[str, Path], None], scratch: Path, log_format: LogFormat
) -> EngineSettings:
    """Resolves the model and puts the settings into the engine's words.

    Args:
        settings: The worker's.
        fetch: For models in S3.
        scratch: Where such a model is kept while the worker runs.
        log_format: `json` or `console`, decided.

    Raises:
        SettingsError: A folder was named that holds no model.
        NodeFaultError: The store with the model cannot be reached.
    """
    clip = bundled.control_clip()
    model, error_rate = settings.model, CONTROL_ERROR_RATE
    simulated = is_simulated(model)
    if simulated:
        model = model.removeprefix(SIMULATED_PREFIX)
    elif model == DEMO:
        model, error_rate = str(bundled.model_path()), clip.max_error_rate
    elif model.startswith("s3://"):
        folder = scratch / "model"
        folder.mkdir(parents=True, exist_ok=True)
        log.info("model_download_started", model=model)
        fetch(model, folder)
        model = str(folder)
    if not simulated and (Path(model).is_dir() or settings.model.startswith((".", "/", "s3://"))):
        _check_folder(settings.model, Path(model))
    return EngineSettings(
        model=model,
        name=SIMULATED_PREFIX.rstrip(":") if simulated else settings.model,
        revision=settings.model_revision,
        device=settings.device,
        compute_type=settings.compute_type,
        batch_size=settings.batch_size,
        cpu_threads=settings.cpu_threads,
        beam_size=settings.beam_size,
        short_encode=settings.short_encode,
        # Neither a simulated model nor one with random weights can hear the control clip's words.
        control=None
        if simulated or (Path(model) / RANDOM_MARK).is_file()
        else ControlClip(path=str(clip.path), text=clip.text, max_error_rate=error_rate),
        log_level=settings.log_level,
        log_format=log_format,
    )


def _check_folder(name: str, folder: Path) -> None:
    missing = [file for file in REQUIRED_FILES if not (folder / file).is_file()]
    if missing:
        raise SettingsError(f"SQSCRIBE_MODEL: {name} holds no CTranslate2 Whisper model: {', '.join(missing)} missing")
