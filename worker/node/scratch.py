# SPDX-License-Identifier: Apache-2.0
"""Scratch space: owner of the worker's folder and of the bytes that jobs may lay into it."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from sqscribe.errors import ErrorCode, PermanentError, SettingsError
from stages.disk import disk_faults
from stages.ports import Cancellation, Clock

__all__ = ["JobScratch", "ScratchSpace"]

log = structlog.get_logger()

#: Of what is free at the start.
_DEFAULT_SHARE = 0.8
#: Seconds between two looks at a cancellation while a job waits for room.
_LOOK_SECONDS = 0.2
_PREFIX = "worker-"
_MARKER_SUFFIX = ".lock"


class JobScratch:
    """One job's folder and its share of the budget; implements `stages.ports.ScratchReserve`.

    Attributes:
        path: The folder; it and all in it are removed when the job leaves.
    """

    def __init__(self, path: Path, budget: _Budget) -> None:
        self.path = path
        self._budget = budget

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Waits until this job may hold `total` bytes in all; gives back at once what is more.

        Raises:
            Cancelled: The job was called off meanwhile.
            PermanentError: `source_too_large`, when `total` exceeds all the scratch there is.
        """
        self._budget.reserve(self, total, cancellation)


class ScratchSpace:
    """The scratch space of one worker process.

    Each worker has a folder of its own below `root`, and beside it a marker file that it holds locked. A lock ends
    with its process however that ends, so a marker that can be locked belongs to a dead worker, whose folder is swept.

    Args:
        root: Where the folder is made; None: below the system's folder for temporary files.
        budget: Bytes that all jobs may hold together; None: 80 % of what is free.
        clock: For the log: how long jobs wait for room.

    Attributes:
        root: The worker's own folder.

    Raises:
        SettingsError: No folder can be made below `root`.
    """

    def __init__(self, root: Path | None, budget: int | None, clock: Clock) -> None:
        base = _base(root)
        _sweep(base)
        self._marker: int | None
        self._marker, self.root = _claim(base)
        size = budget if budget is not None else int(shutil.disk_usage(self.root).free * _DEFAULT_SHARE)
        self._budget = _Budget(size, clock)
        log.info("scratch_ready", path=str(self.root), budget=size)

    @property
    def budget(self) -> int:
        """Bytes that all jobs may hold together."""
        return self._budget.size

    @property
    def used(self) -> int:
        """Bytes that are reserved."""
        return self._budget.used

    @property
    def free(self) -> int:
        """Bytes that are not reserved."""
        return max(0, self._budget.size - self._budget.used)

    def has_room(self, wanted: int) -> bool:
        """Whether a new job could reserve so many bytes now; false while others wait for room."""
        return self._budget.has_room(wanted)

    @contextmanager
    def job(self, name: str) -> Iterator[JobScratch]:
        """A fresh folder for one attempt at a job.

        Args:
            name: For people who look into the folder; need not be unique.

        Raises:
            NodeFaultError: The disk is full or broken.
        """
        label = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
        with disk_faults():
            path = Path(tempfile.mkdtemp(prefix=f"{label}-", dir=self.root))
        scratch = JobScratch(path, self._budget)
        try:
            yield scratch
        finally:
            # Bytes that cannot be removed still lie there, but holding on to their reservation would help nobody.
            _remove(path)
            self._budget.release(scratch)

    def close(self) -> None:
        """Removes the worker's folder; repeating it is harmless."""
        _remove(self.root)
        if self._marker is not None:
            self.root.with_suffix(_MARKER_SUFFIX).unlink(missing_ok=True)
            os.close(self._marker)
            self._marker = None


class _Budget:
    """Deals out bytes.

    Room goes to one job at a time. First to jobs that hold some and need more, because they are what will give room
    back; then to newcomers in the order in which they came, so that a big one is not passed over by small ones for
    ever. Two jobs that both hold bytes and both need more could wait for each other: when every job that holds bytes
    waits, the first of them goes over the budget, which is only a part of the disk, and comes to its end.
    """

    def __init__(self, size: int, clock: Clock) -> None:
        self.size = size
        self._clock = clock
        self._changed = threading.Condition()  # guards the two below
        self._held: dict[JobScratch, int] = {}
        self._waiting: dict[JobScratch, int] = {}  # in order of arrival; what each wants in all

    @property
    def used(self) -> int:
        with self._changed:
            return sum(self._held.values())

    def has_room(self, wanted: int) -> bool:
        with self._changed:
            return not self._waiting and sum(self._held.values()) + wanted <= self.size

    def reserve(self, job: JobScratch, total: int, cancellation: Cancellation) -> None:
        if total > self.size:
            raise PermanentError(
                ErrorCode.SOURCE_TOO_LARGE,
                f"the job needs {total} bytes of scratch; this worker has {self.size} (SQSCRIBE_SCRATCH_BYTES)",
            )
        began = self._clock.now()
        with self._changed:
            self._waiting[job] = total
            try:
                while not self._may_have(job, total):
                    cancellation.check()
                    self._changed.wait(_LOOK_SECONDS)
                self._held[job] = total
            finally:
                del self._waiting[job]
                self._changed.notify_all()
        waited = self._clock.now() - began
        if waited > 1:
            log.info("scratch_waited", folder=job.path.name, seconds=round(waited, 1), bytes=total)

    def release(self, job: JobScratch) -> None:
        with self._changed:
            self._held.pop(job, None)
            self._changed.notify_all()

    def _may_have(self, job: JobScratch, total: int) -> bool:
        if total <= self._held.get(job, 0):
            return True
        holders = [other for other in self._waiting if self._held.get(other)]
        first = next(iter(holders or self._waiting))
        if job is not first:
            return False
        if sum(self._held.values()) - self._held.get(job, 0) + total <= self.size:
            return True
        if len(holders) == sum(1 for held in self._held.values() if held):
            log.warning("scratch_overcommitted", folder=job.path.name, bytes=total, budget=self.size)
            return True
        return False


def _base(root: Path | None) -> Path:
    """Where the workers of this user keep their folders."""
    base = root or Path(tempfile.gettempdir()) / f"sqscribe-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root is None:
            # Its name can be guessed and the folder above is everybody's: it must really be ours.
            facts = base.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
                raise SettingsError(f"{base} belongs to somebody else; set SQSCRIBE_SCRATCH_DIR")
    except OSError as error:
        raise SettingsError(
            f"no scratch folder can be made in {base} ({error.strerror}); see SQSCRIBE_SCRATCH_DIR"
        ) from error
    return base


def _claim(base: Path) -> tuple[int, Path]:
    """Makes a folder and the locked marker beside it; the marker first, so that no folder stands without one."""
    while True:
        folder = base / f"{_PREFIX}{secrets.token_hex(6)}"
        try:
            marker = os.open(folder.with_suffix(_MARKER_SUFFIX), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except OSError as error:
            raise SettingsError(f"{base} cannot be written to ({error.strerror}); see SQSCRIBE_SCRATCH_DIR") from error
        # A worker that sweeps at this very moment may have locked and removed the marker before we could lock it.
        if _lock(marker) and os.fstat(marker).st_nlink:
            folder.mkdir(mode=0o700)
            return marker, folder
        os.close(marker)


def _sweep(base: Path) -> None:
    """Removes the folders of dead workers, and nothing else."""
    for path in base.glob(f"{_PREFIX}*{_MARKER_SUFFIX}"):
        try:
            marker = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # swept by another worker, or another user's
            continue
        try:
            if _lock(marker):
                folder = path.with_suffix("")
                log.info("scratch_swept", folder=str(folder))
                _remove(folder)
                path.unlink(missing_ok=True)
        finally:
            os.close(marker)


def _lock(marker: int) -> bool:
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.warning("scratch_left_behind", folder=str(folder))
