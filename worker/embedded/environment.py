# SPDX-License-Identifier: Apache-2.0
"""What a program of this project is started with: an environment without anybody's settings, and a free port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["clean_environment", "free_port"]


def clean_environment() -> dict[str, str]:
    """This process's environment for a program of this project: without settings of sqscribe's or of AWS's.

    The program finds the same packages as this process, wherever they were imported from.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SQSCRIBE_", "AWS_"))}
    packages = str(Path(__file__).resolve().parents[2])
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [packages, environ.get("PYTHONPATH")]))
    return environ


def free_port() -> int:
    """A TCP port on which nothing listens at this moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
