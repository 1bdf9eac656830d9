# SPDX-License-Identifier: Apache-2.0
"""Which GPU a process works on, and the driver that it has, told without any library of the model."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from sqscribe.errors import UnfitNodeError

__all__ = ["NO_DRIVER", "Driver", "choose_gpu", "find_driver"]

_VISIBLE, _ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
#: Part of the driver; the container runtime puts it in place beside libcuda.
_NVML = "libnvidia-ml.so.1"
#: NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
_VERSION_BYTES = 80


@dataclass(frozen=True, slots=True)
class Driver:
    """NVIDIA's driver.

    Attributes:
        version: Of the driver: `570.86.15`. None: there is none, or it does not say.
        cuda: Newest CUDA that it runs: `12.8`.
    """

    version: str | None
    cuda: str | None


NO_DRIVER = Driver(None, None)


def choose_gpu(index: int, environ: MutableMapping[str, str] = os.environ) -> None:
    """Makes one GPU the only one that this process sees. To be called before anything asks CUDA.

    So no library has to be told, and none can put anything on another GPU: CTranslate2 asks an array of torch's whether
    it is on a GPU, and not on which (python/cpp/storage_view.cc, `create_view_from_array`).

    Args:
        index: Among the visible ones, in the order of `nvidia-smi` unless `CUDA_DEVICE_ORDER` says otherwise.
        environ: Of the process.

    Raises:
        UnfitNodeError: `CUDA_VISIBLE_DEVICES` names fewer.
    """
    environ.setdefault(_ORDER, "PCI_BUS_ID")
    visible = [name.strip() for name in environ.get(_VISIBLE, "").split(",") if name.strip()]
    if index >= len(visible) > 0 or (index and environ.get(_VISIBLE) == ""):
        raise UnfitNodeError(
            f"GPU {index} was asked for, but CUDA_VISIBLE_DEVICES names {len(visible)}; they are counted from 0."
        )
    if visible:
        environ[_VISIBLE] = visible[index]
    elif _VISIBLE not in environ:
        environ[_VISIBLE] = str(index)


def find_driver(load: Callable[[str], Any] = ctypes.CDLL) -> Driver:
    """Asks NVML, which needs no CUDA context and takes no memory of the device."""
    try:
        library = load(_NVML)
    except OSError:
        return NO_DRIVER
    if library.nvmlInit_v2() != 0:
        return NO_DRIVER
    try:
        buffer, number = ctypes.create_string_buffer(_VERSION_BYTES), ctypes.c_int()
        version = cuda = None
        if library.nvmlSystemGetDriverVersion(buffer, ctypes.c_uint(_VERSION_BYTES)) == 0:
            version = buffer.value.decode("ascii", "replace")
        if library.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(number)) == 0:
            cuda = f"{number.value // 1000}.{number.value % 1000 // 10}"
        return Driver(version, cuda)
    finally:
        library.nvmlShutdown()
