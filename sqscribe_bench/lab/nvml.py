# SPDX-License-Identifier: Apache-2.0
"""How busy a GPU is, as NVML reports it through the package nvidia-ml-py, or else through `nvidia-smi`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean

from sqscribe_bench.lab.run import BenchError
from sqscribe_bench.lab.smi import smi_utilisation

__all__ = ["NvmlSampler", "nvml_sampler"]

_LOOK_SECONDS = 0.1
#: NVML reports on the time before, of which the oldest part is so many seconds ago.
_LAG_SECONDS = 1.0


class NvmlSampler:
    """Looks at a GPU some ten times a second while it is `running`.

    Args:
        utilisation: The share of the last moments (from 1/6 s to 1 s, by product) in which a kernel ran; None when
            it is unknown.
        look_seconds: Seconds between two looks.
    """

    def __init__(self, utilisation: Callable[[], float | None], look_seconds: float = _LOOK_SECONDS) -> None:
        self._utilisation = utilisation
        self._look_seconds = look_seconds
        self._lock = threading.Lock()  # guards _seen
        self._seen: list[tuple[float, float]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keeps looking at the GPU inside the `with` block."""
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended,), name="nvml", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def busy(self, began: float, ended: float) -> float | None:
        """The mean share between two moments of the monotonic clock; None without a look.

        Looks in the first second report on the time before, and are left out where there are others.
        """
        inside = self.seen(began, ended)
        settled = [share for moment, share in inside if moment >= began + _LAG_SECONDS]
        shares = settled or [share for _, share in inside]
        return fmean(shares) if shares else None

    def seen(self, began: float, ended: float) -> list[tuple[float, float]]:
        """Each look between two moments of the monotonic clock: its moment and its share."""
        with self._lock:
            return [(moment, share) for moment, share in self._seen if began <= moment <= ended]

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(self._look_seconds):
            share = self._utilisation()
            if share is not None:
                with self._lock:
                    self._seen.append((time.monotonic(), share))


@contextmanager
def nvml_sampler(uuid: str | None) -> Iterator[NvmlSampler]:
    """Watches a GPU.

    Args:
        uuid: NVML's name of the GPU; None for the first one.

    Raises:
        BenchError: There is no NVML and no `nvidia-smi`, or NVML does not report on this GPU.
    """
    try:
        import pynvml  # noqa: PLC0415 - only this needs it
    except ImportError:
        with smi_utilisation(uuid) as latest:
            sampler = NvmlSampler(latest)
            with sampler.running():
                yield sampler
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise BenchError(f"NVML cannot be loaded, so nobody can say how busy the GPU is: {error}") from error
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid) if uuid else pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetUtilizationRates(handle)
    except pynvml.NVMLError as error:
        pynvml.nvmlShutdown()
        raise BenchError(f"NVML does not say how busy this GPU is: {error}") from error

    def utilisation() -> float | None:
        try:
            return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100.0
        except pynvml.NVMLError:
            return None

    sampler = NvmlSampler(utilisation)
    try:
        with sampler.running():
            yield sampler
    finally:
        pynvml.nvmlShutdown()
