# SPDX-License-Identifier: Apache-2.0
"""Turns off what dependencies would send, look up or load without being asked.

They read the environment when they are loaded, so this runs before the first of them is: whoever loads `stages` or the
command line has run it. Child processes inherit it. What a person has set stays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["UNASKED", "turn_off"]

_UNASKED = {
    # Its Linux wheels look a collector up and keep a device id and events below the cache folder from the first
    # session on; the call that turns it off comes too late: https://github.com/microsoft/onnxruntime/issues/25573
    "ORT_DISABLE_TELEMETRY": "1",
    # https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # The convention that those follow who have no switch of their own: https://consoledonottrack.com
    "DO_NOT_TRACK": "1",
    # Code of whoever can write to a folder of plug-ins: https://github.com/yt-dlp/yt-dlp#plugins
    "YTDLP_NO_PLUGINS": "1",
    # It asks its maker for a newer version: https://docs.deno.com/runtime/reference/env_variables/
    "DENO_NO_UPDATE_CHECK": "1",
}

#: By environment variable.
UNASKED: Mapping[str, str] = MappingProxyType(_UNASKED)


def turn_off() -> None:
    """Sets what is not set yet."""
    for name, value in UNASKED.items():
        os.environ.setdefault(name, value)
