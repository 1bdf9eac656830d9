# SPDX-License-Identifier: Apache-2.0
"""All checks: the one place that a new one is added to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TypeAlias

import structlog

from sqscribe.errors import SettingsError
from worker.aws import AwsClients
from worker.connect import storage_client
from worker.preflight.ffmpeg import check_decoding, check_ffmpeg
from worker.preflight.finding import Finding, Severity, wrong
from worker.preflight.machine import check_machine, check_missing, check_times, check_unknown
from worker.preflight.model import check_device, check_model
from worker.preflight.queues import check_queues
from worker.preflight.storage import check_storage
from worker.settings import Settings

__all__ = ["examine"]

_Check: TypeAlias = Callable[[], Iterator[Finding]]

log = structlog.get_logger()

#: Seconds to connect, and for an answer: a check is soon tried again.
_CONNECT_TIMEOUT, _READ_TIMEOUT = 5.0, 15.0
_ATTEMPTS = 3


def examine(settings: Settings, *, device: bool = False, whole: bool = True) -> list[Finding]:
    """Makes all checks, those that wait for others at once; nothing is received.

    Args:
        settings: Of the worker that is to run.
        device: Whether the libraries of the model are asked about the device as well, which takes seconds. The worker
            need not: its inference process finds out before anything is received.
        whole: Whether a queue and an output must be named; else what is not named is told and passed over.
    """
    with ExitStack() as stack:
        groups = [*_here(settings, device=device, whole=whole), *_away(settings, stack)]
        with ThreadPoolExecutor(len(groups), "preflight") as pool:
            return [finding for found in pool.map(_made, groups) for finding in found]


def _away(settings: Settings, stack: ExitStack) -> list[_Check]:
    """Checks that ask others, with clients that the stack closes."""
    try:
        clients = AwsClients(connect_timeout=_CONNECT_TIMEOUT, read_timeout=_READ_TIMEOUT, attempts=_ATTEMPTS)
        storage = stack.enter_context(closing(storage_client(settings, clients)))
    except SettingsError as error:
        unusable = wrong("AWS settings", str(error), "check AWS_* and the files that they name")
        return [lambda: iter([unusable])]
    return [
        lambda: check_queues(settings, clients),
        lambda: check_storage(settings, storage),
        lambda: check_model(settings, lambda: storage),
    ]


def _here(settings: Settings, *, device: bool, whole: bool) -> list[_Check]:
    """Checks of this machine and of the settings alone."""
    return [
        lambda: check_missing(settings, needed=whole),
        check_unknown,
        lambda: check_times(settings),
        lambda: check_machine(settings),
        check_decoding,
        check_ffmpeg,
        *([lambda: check_device(settings)] if device else []),
    ]


def _made(check: _Check) -> list[Finding]:
    """What a check finds. One that fails by itself, on an answer of no known kind, keeps no worker from working."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        log.exception("preflight_check_failed")
        found.append(Finding("preflight", f"a check failed: {error!r}", "report it with the log", Severity.SKIPPED))
    return found
