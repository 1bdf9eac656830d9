# SPDX-License-Identifier: Apache-2.0
"""What a figure is worth nothing without: the machine, and what was installed on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sqscribe import __version__

__all__ = ["Machine", "cpu_cores", "this_machine"]

_PACKAGES = ("ctranslate2", "faster-whisper", "torch", "onnxruntime", "numpy", "moto")
_ASK_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a benchmark ran.

    Attributes:
        cpu: The processor's name.
        cores: Those that this process may use.
        memory: Bytes.
        gpus: Names; empty without one, or without a driver.
        versions: Of Python and of what the contenders are made of.
        load: The load average of the last minute at the start: above 0, others were at work as well.
    """

    cpu: str
    cores: int
    memory: int
    gpus: tuple[str, ...]
    versions: dict[str, str]
    load: float


def this_machine() -> Machine:
    """Looks at this machine, now."""
    versions = {"python": platform.python_version(), "sqscribe": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Machine(
        cpu=_cpu(),
        cores=cpu_cores(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=_gpus(),
        versions=versions,
        load=round(os.getloadavg()[0], 2),
    )


def cpu_cores() -> int:
    """Cores that this process may use, by its affinity and by its container's quota, whichever is less.

    The engine has the same in `stages.inference.whisper.model`, which loads torch.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota
        return cores


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
