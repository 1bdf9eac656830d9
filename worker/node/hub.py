# SPDX-License-Identifier: Apache-2.0
"""Brings a named model from the hub before anything else of it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from sqscribe.errors import NodeFaultError, SettingsError
from stages.ports import Cancellation
from worker.node.models import DEMO, check_folder, engine_kind, names_folder
from worker.settings import Settings

__all__ = ["bring_named_model", "named_model"]

log = structlog.get_logger()

_PROGRAM = ("-P", "-m", "stages.inference.whisper.fetch_model")
#: Seconds between two looks at the cancellation.
_LOOK_SECONDS = 0.2
#: Characters of the hub's reason that are told.
_MOST = 500


def named_model(settings: Settings) -> bool:
    """Whether the model is to be had from the hub, by its name."""
    model = settings.model
    return not (engine_kind(model) or model == DEMO or model.startswith("s3://") or names_folder(model))


def bring_named_model(settings: Settings, cancellation: Cancellation) -> None:
    """Downloads the model to the hub's cache, unless it is there; the inference process loads it from there.

    Raises:
        Cancelled: It was called off.
        NodeFaultError: The hub cannot be reached.
        SettingsError: The hub has no such model, keeps it to others, or has one for other libraries.
    """
    revision = (settings.model_revision,) if settings.model_revision else ()
    log.info("model_download_started", model=settings.model)
    answer = _run((settings.model, *revision), cancellation)
    if "folder" in answer:
        check_folder(settings.model, Path(answer["folder"]))
        return
    why = str(answer.get("why", "its client ended without an answer"))[:_MOST]
    if answer.get("final"):
        raise SettingsError(
            f"SQSCRIBE_MODEL: {settings.model} cannot be had from the hub ({why}); check the name,"
            " SQSCRIBE_MODEL_REVISION, HF_TOKEN, and that HF_HOME may be written to"
        )
    raise NodeFaultError(
        f"model {settings.model} cannot be brought from the hub ({why}); check the network, HF_ENDPOINT"
    )


def _run(arguments: tuple[str, ...], cancellation: Cancellation) -> Mapping[str, Any]:
    process = subprocess.Popen(
        [sys.executable, *_PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        text=True,
        start_new_session=True,  # a Ctrl-C is ours to act on
    )
    try:
        while True:
            cancellation.check()
            try:
                said, _ = process.communicate(timeout=_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            try:
                answer: Mapping[str, Any] = json.loads(said.strip().splitlines()[-1])
            except (ValueError, IndexError):
                return {}
            return answer
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
