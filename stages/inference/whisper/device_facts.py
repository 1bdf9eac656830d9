# SPDX-License-Identifier: Apache-2.0
"""A program that says as JSON what the device of a name is, for whoever must not load the libraries itself."""

from __future__ import annotations

import json
import sys

import ctranslate2

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.model import find_device

__all__: list[str] = []


def _facts(wanted: str) -> dict[str, object]:
    try:
        device = find_device(wanted)
    except UnfitNodeError as error:
        return {"name": wanted, "compute_types": [], "problem": str(error)}
    types = sorted(ctranslate2.get_supported_compute_types(device.type))
    return {"name": device.type, "compute_types": types, "problem": None}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_facts(sys.argv[1])))
