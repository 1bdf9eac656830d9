# SPDX-License-Identifier: Apache-2.0
"""The model that all contenders load."""

from __future__ import annotations

from pathlib import Path

from sqscribe import bundled

__all__ = ["RANDOM", "model_folder"]

#: What comes before the name of an architecture.
RANDOM = "random:"


def model_folder(model: str, cache: Path) -> str:  # noqa: ARG001
    """What the contenders load: the folder of `demo`, of a made-up model, or whatever was named."""
    return str(bundled.model_path()) if model == "demo" else model
