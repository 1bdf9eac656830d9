# SPDX-License-Identifier: Apache-2.0
"""What a model runs on, and the type that it is computed in there."""

from __future__ import annotations

from collections.abc import Callable, Collection

import ctranslate2
import torch

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.known_models import COMPUTE_TYPES

__all__ = ["best_compute_type", "checked_compute_type", "find_device"]

#: On a GPU, the best one first. Half precision needs compute capability 7.0 (Volta), bfloat16 8.0 (Ampere): what is
#: older has single precision, and 8-bit weights from 6.1 (Pascal) on.
_ON_GPU = ("float16", "bfloat16", "int8_float16", "float32")
#: Weights of half the size or less, at some cost in accuracy.
_SMALLER = {"float16": "int8_float16", "bfloat16": "int8_bfloat16", "float32": "int8_float32"}
_ON_CPU = ("int8", "float32")
#: A model that leaves no room for so many windows beside it had better be smaller.
_LEAST_WINDOWS = 4


def find_device(wanted: str, index: int = 0) -> torch.device:
    """The device that `auto`, `cuda` or `cpu` stands for on this node.

    Args:
        wanted: One of them.
        index: The GPU that `stages.inference.engine.gpu.choose_gpu` has made the only visible one; for messages.

    Raises:
        UnfitNodeError: There is none, or not all libraries can use it.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if wanted not in ("auto", "cuda"):
        raise UnfitNodeError(f"device {wanted!r} is unknown; use auto, cuda or cpu.")
    count = ctranslate2.get_cuda_device_count()
    if count == 0 and wanted == "auto" and index == 0:
        return torch.device("cpu")
    if count == 0:
        asked = f"GPU {index} was" if index else "CUDA was"
        raise UnfitNodeError(
            f"{asked} asked for, but CTranslate2 sees no {'such ' if index else ''}GPU: check that the container was "
            "given one and that its driver supports CUDA 12."
        )
    if not torch.cuda.is_available():
        raise UnfitNodeError(
            f"torch {torch.__version__} cannot use the GPU that CTranslate2 sees: install a torch built for CUDA 12, "
            "or set the device to cpu."
        )
    return torch.device("cuda", 0)


def checked_compute_type(wanted: str, device: str) -> str:
    """A type that was asked for, if the device has it.

    Raises:
        UnfitNodeError: There is no such type, or not there.
    """
    if wanted not in COMPUTE_TYPES:
        raise UnfitNodeError(f"compute type {wanted!r} is unknown; CTranslate2 has {', '.join(COMPUTE_TYPES)}.")
    supported = ctranslate2.get_supported_compute_types(device)
    if wanted not in ("default", "auto") and wanted not in supported:
        # CTranslate2 would quietly take another one.
        raise UnfitNodeError(
            f"compute type {wanted} is not supported by this {device} device; it has {', '.join(sorted(supported))}."
        )
    return wanted


def best_compute_type(device: str, supported: Collection[str], windows: Callable[[str], int] | None = None) -> str:
    """The type for a device where none was asked for.

    Args:
        device: `cpu` or `cuda`.
        supported: As CTranslate2 tells of it.
        windows: Of a batch for which a model in such a type leaves room on the device; None: not known.
    """
    if device == "cpu":
        return next(each for each in _ON_CPU if each in supported)
    best = next((each for each in _ON_GPU if each in supported), "float32")
    smaller = _SMALLER.get(best)
    if windows is None or smaller is None or smaller not in supported or windows(best) >= _LEAST_WINDOWS:
        return best
    return smaller
