# SPDX-License-Identifier: Apache-2.0
"""The model and what it is to run on, as far as can be told without loading it."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqscribe.errors import SettingsError
from sqscribe.urls import ObjectUrl, split_s3
from stages.inference.whisper.known_models import COMPUTE_TYPES, SHORT_NAMES
from worker.node.models import DEMO, REQUIRED_FILES, check_folder, engine_kind, names_folder
from worker.preflight.finding import Finding, Severity, ok, warning, wrong
from worker.preflight.refusals import Refused, refusal
from worker.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["check_device", "check_model", "device_findings"]

MODEL, COMPUTE, DEVICE = "SQSCRIBE_MODEL", "SQSCRIBE_COMPUTE_TYPE", "SQSCRIBE_DEVICE"
#: CTranslate2's wheels are built with it; GPUs newer than its kernels have theirs compiled by the driver.
LEAST_CUDA = "12.8"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
#: Asks the libraries in a process of its own: they stay out of the one that holds the leases.
_LOOK = ("-P", "-m", "stages.inference.whisper.device_facts")


def check_model(settings: Settings, client: Callable[[], S3Client]) -> Iterator[Finding]:
    """Whether there is such a model."""
    name = settings.model
    kind = engine_kind(name)
    if kind and kind.files:
        yield from _folder(name, Path(name.partition(":")[2]))
    elif kind or name == DEMO:
        yield ok(MODEL, name)
    elif name.startswith("s3://"):
        yield from _stored(name, client)
    elif names_folder(name):
        yield from _folder(name, Path(name))
    elif name in SHORT_NAMES or _HUB_NAME.fullmatch(name):
        yield ok(MODEL, f"{name}; a worker brings it from the hub, or finds it in the cache")
    else:
        near = difflib.get_close_matches(name, SHORT_NAMES, 1)
        yield wrong(
            MODEL,
            f"{name!r} is no model that faster-whisper knows" + (f": did you mean {near[0]}?" if near else ""),
            f"use one of {', '.join(SHORT_NAMES)}, or owner/name of the hub, a folder, s3://bucket/prefix, or demo",
        )
    if settings.compute_type is not None and settings.compute_type not in COMPUTE_TYPES:
        yield wrong(
            COMPUTE,
            f"{settings.compute_type!r} is no compute type of CTranslate2",
            f"use one of {', '.join(COMPUTE_TYPES)}",
        )


def _folder(name: str, folder: Path) -> Iterator[Finding]:
    try:
        check_folder(name, folder)
    except SettingsError as error:
        what, _, why = str(error).partition(": ")
        form = "in that form" if engine_kind(name) else "that was converted to CTranslate2"
        yield wrong(what, why, f"name the folder of a model {form}")
    else:
        yield ok(MODEL, f"{name} holds a model")


def _stored(url: str, make_client: Callable[[], S3Client]) -> Iterator[Finding]:
    try:
        place = split_s3(url)
    except ValueError as error:
        yield wrong(MODEL, f"{url} {error}", "use s3://bucket/prefix")
        return
    prefix = f"{place.key.rstrip('/')}/" if place.key else ""
    client = make_client()
    try:
        answer = client.list_objects_v2(Bucket=place.bucket, Prefix=prefix, Delimiter="/")
    except Refused as error:
        yield refusal(MODEL, f"listing {url}", error, "s3:ListBucket (on the bucket)")
        return
    there = {entry["Key"].removeprefix(prefix) for entry in answer.get("Contents", [])}
    missing = [name for name in REQUIRED_FILES if name not in there]
    if missing:
        found = f"{', '.join(missing)} missing" if there else "nothing stands there"
        yield wrong(MODEL, f"{url} holds no CTranslate2 Whisper model: {found}", "upload the model's folder there")
        return
    first = ObjectUrl(place.bucket, prefix + REQUIRED_FILES[0])
    try:
        client.get_object(Bucket=first.bucket, Key=first.key, Range="bytes=0-0")["Body"].read()
    except Refused as error:
        yield refusal(MODEL, f"reading {first}", error, "s3:GetObject")
    else:
        yield ok(MODEL, f"{url} holds a model and may be read")


def check_device(settings: Settings, timeout: float = 120.0) -> Iterator[Finding]:
    """Whether the device is there and computes in the type that is asked for; takes some seconds."""
    if engine_kind(settings.model):
        return
    try:
        ended = subprocess.run(
            [sys.executable, *_LOOK, settings.device, str(settings.device_index)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        facts: Any = json.loads(ended.stdout)
    except (subprocess.TimeoutExpired, OSError, ValueError) as error:
        yield Finding(
            DEVICE, f"the libraries of the model cannot be asked ({type(error).__name__})", "", Severity.SKIPPED
        )
        return
    if facts["problem"]:
        yield Finding(DEVICE, facts["problem"], "give the container a GPU, or set it to cpu or auto", Severity.UNFIT)
        return
    yield from device_findings(settings, facts)


def device_findings(settings: Settings, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What there is to say of a device that is there.

    Args:
        settings: The worker's.
        facts: As `stages.inference.whisper.device_facts` tells them.
    """
    runs = f", driver {facts['driver']}, CUDA {facts['cuda']}" if facts.get("driver") else ""
    default = "" if settings.compute_type else f"; computes in {facts['best']} unless that leaves too little memory"
    yield ok(DEVICE, f"{settings.device} is {facts['name']}{runs}{default}")
    if facts.get("cuda") and _version(facts["cuda"]) < _version(LEAST_CUDA):
        yield warning(
            "driver",
            f"{facts['driver']} runs CUDA {facts['cuda']}, and CTranslate2 is built with {LEAST_CUDA}: texts may come"
            " out empty, which the control clip at the start finds out",
            "install a driver of the 570 series or newer",
        )
    if settings.compute_type in {None, "default", "auto"} or settings.compute_type in facts["compute_types"]:
        return
    if settings.compute_type in COMPUTE_TYPES:
        yield Finding(
            COMPUTE,
            f"{facts['name']} does not compute in {settings.compute_type}",
            f"use one of {', '.join(sorted(facts['compute_types']))}, or leave it unset",
            Severity.UNFIT,
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
