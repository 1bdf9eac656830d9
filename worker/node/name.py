# SPDX-License-Identifier: Apache-2.0
"""What SaladCloud tells a container about the node that it runs on."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

__all__ = ["node_name"]


def node_name(environ: Mapping[str, str] | None = None) -> str:
    """A name for this node in results and logs: the machine, else the instance, else the host's name.

    The machine comes first because a bad one keeps its id over restarts. `HOSTNAME` is not asked on SaladCloud:
    its documentation gives two different meanings for it.

    Args:
        environ: The environment; the process's own by default.
    """
    environ = os.environ if environ is None else environ
    return environ.get("SALAD_MACHINE_ID") or environ.get("SALAD_INSTANCE_ID") or socket.gethostname()
