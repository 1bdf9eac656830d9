# SPDX-License-Identifier: Apache-2.0
"""How busy a GPU is, by its own account: NVML's, through the package nvidia-ml-py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean

from sqscribe_bench.lab.run import BenchError

__all__ = ["NvmlSampler", "nvml_sampler"]

_LOOK_SECONDS = 0.1
#: What NVML tells is of up to so long ago.
_LAG_SECONDS = 1.0


class NvmlSampler:
    """Looks at a GPU some ten times a second while it is `running`.

    Args:
        utilisation: The share of the last moments (from 1/6 s to 1 s, by product) in which a kernel ran; None when
            it cannot be told.
        look_seconds: Between two looks.
    """

    def __init__(self, utilisation: Callable[[], float | None], look_seconds: float = _LOOK_SECONDS) -> None:
        self._utilisation = utilisation
        self._look_seconds = look_seconds
        self._lock = threading.Lock()  # guards _seen
        self._seen: list[tuple[float, float]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Looks at it all the time inside."""
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended,), name="nvml", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def busy(self, began: float, ended: float) -> float | None:
        """The mean between two moments of the monotonic clock; None where nothing was seen.

        What was seen in the first second tells of what was before, and is left out where there is more.
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
        uuid: As NVML has it; None for the first GPU.

    Raises:
        BenchError: There is no NVML, or it does not tell.
    """
    try:
        import pynvml  # noqa: PLC0415 - nobody needs it but for this
    except ImportError:
        raise BenchError(
            "nvidia-ml-py is not installed, so nobody can say how busy the GPU is; pip install nvidia-ml-py"
        ) from None
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
