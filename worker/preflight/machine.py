# SPDX-License-Identifier: Apache-2.0
"""Scratch, memory, and settings that do not fit each other or the machine."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.node.models import names_folder
from worker.preflight.finding import Finding, Severity, ok, warning, wrong
from worker.settings import ENV_PREFIX, Settings

__all__ = ["check_machine", "check_missing", "check_times", "check_unknown"]

SCRATCH = "SQSCRIBE_SCRATCH_DIR"
_GIB = 1 << 30
#: Less than this leaves no room for a long file's audio (115 MB an hour) and its source.
_LEAST_DISK = _GIB
#: Of the worker's process and of the engine's libraries, without a model.
_LEAST_MEMORY = int(1.5 * _GIB)
#: Environment variables with our prefix that are no settings of a worker.
_OTHERS = frozenset({"DEMO_WEIGHTS", "REAL_SPEECH", "IMAGE"})
#: A lease shorter than this is lost when one renewal is late.
_SHORT_LEASE = 30
_LONG_INTERVAL = 900.0


def check_missing(settings: Settings, *, needed: bool) -> Iterator[Finding]:
    """What a worker cannot do without.

    Args:
        settings: Of the worker.
        needed: Whether one is to run with them now.
    """
    wants = (
        ("SQSCRIBE_QUEUE_URL", settings.queue_url, "the URL of its SQS queue", "set it, or --queue-url"),
        ("SQSCRIBE_OUTPUT", settings.output, "a place for results", "set it to s3://bucket/prefix, or --output"),
    )
    for name, value, what, remedy in wants:
        if not value:
            severity = Severity.WRONG if needed else Severity.SKIPPED
            yield Finding(name, f"not set; the worker needs {what}", remedy, severity)


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Disk and memory."""
    yield from _scratch(settings)
    yield from _memory(settings)


def _scratch(settings: Settings) -> Iterator[Finding]:
    folder = settings.scratch_dir or Path(tempfile.gettempdir())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield wrong(
            SCRATCH, f"{folder} cannot be written to ({error.strerror})", "name a folder that the worker may write to"
        )
        return
    budget = settings.scratch_bytes
    if budget is not None and budget > free:
        yield warning(
            "SQSCRIBE_SCRATCH_BYTES",
            f"{_size(budget)} are more than the {_size(free)} free in {folder}",
            "lower it, or make room",
        )
    room = min(free, budget) if budget is not None else int(0.8 * free)
    if room < _LEAST_DISK:
        yield warning(SCRATCH, f"{folder} has room for {_size(room)} only", "name a folder with more")
    elif room < settings.max_source_bytes:
        yield warning(
            "SQSCRIBE_MAX_SOURCE_BYTES",
            f"sources of {_size(settings.max_source_bytes)} are allowed, and scratch has room for {_size(room)}:"
            " larger ones fail",
            "lower it, or give scratch more room",
        )
    else:
        yield ok(SCRATCH, f"{folder} has room for {_size(room)}")


def _memory(settings: Settings) -> Iterator[Finding]:
    least = _LEAST_MEMORY
    weights = Path(settings.model) / "model.bin"
    if names_folder(settings.model) and weights.is_file() and settings.device != "cuda":
        least += weights.stat().st_size
    there = _available_memory()
    if there is None:
        return
    if there < least:
        yield warning(
            "memory",
            f"{_size(there)} are free, and {_size(least)} are needed at least",
            "give the container more memory",
        )
    else:
        yield ok("memory", f"{_size(there)} are free")


def _available_memory() -> int | None:
    """Bytes that this process may still take, by the machine and by its container."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (free,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError):
        return None
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return free
    return min(free, max(0, limit - used))


def check_times(settings: Settings) -> Iterator[Finding]:
    """Durations that do not fit each other."""
    lease, interval = settings.visibility_timeout, settings.checkpoint_seconds
    if lease < _SHORT_LEASE:
        yield warning(
            "SQSCRIBE_VISIBILITY_TIMEOUT",
            f"a lease of {lease} s is lost when one renewal is late",
            "300 is a good value",
        )
    if interval > _LONG_INTERVAL:
        yield warning(
            "SQSCRIBE_CHECKPOINT_SECONDS",
            f"a worker that is killed loses up to {interval:g} s of work",
            "60 is a good value",
        )


def check_unknown(environ: Iterable[str] | None = None) -> Iterator[Finding]:
    """Variables with our prefix that nobody reads: a typing error leaves a default in its place."""
    names = [name for name in (os.environ if environ is None else environ) if name.upper().startswith(ENV_PREFIX)]
    known = [f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in sorted(set(map(str.upper, names)) - set(known)):
        near = difflib.get_close_matches(name, known, 1, cutoff=0.85)
        if near and name.removeprefix(ENV_PREFIX) not in _OTHERS:
            yield warning(name, "there is no such setting, and it changes nothing", f"did you mean {near[0]}?")


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count >> 20} MiB"
