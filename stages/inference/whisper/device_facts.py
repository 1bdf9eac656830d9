# SPDX-License-Identifier: Apache-2.0
"""A program that says as JSON what the device of a name is, for whoever must not load the libraries itself.

Its arguments are the device as the settings name it, and the index of the GPU.
"""

from __future__ import annotations

import json
import sys

import ctranslate2
import torch

from sqscribe.errors import UnfitNodeError
from stages.inference.engine.gpu import NO_DRIVER, choose_gpu, find_driver
from stages.inference.whisper.device import best_compute_type, find_device

__all__: list[str] = []


def _facts(wanted: str, index: int) -> dict[str, object]:
    try:
        if wanted != "cpu":
            choose_gpu(index)
        device = find_device(wanted, index)
    except UnfitNodeError as error:
        return {"name": wanted, "compute_types": [], "problem": str(error)}
    types = sorted(ctranslate2.get_supported_compute_types(device.type))
    on_gpu = device.type == "cuda"
    driver = find_driver() if on_gpu else NO_DRIVER
    return {
        "name": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "compute_types": types,
        "best": best_compute_type(device.type, types),
        "problem": None,
        "driver": driver.version,
        "cuda": driver.cuda,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_facts(sys.argv[1], int(sys.argv[2]))))
