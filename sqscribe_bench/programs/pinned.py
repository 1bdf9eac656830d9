# SPDX-License-Identifier: Apache-2.0
"""Another program, pinned to so many cores before anything is loaded that counts them.

Started with the number of cores, the program's module and its arguments.
"""

from __future__ import annotations

import os
import runpy
import sys


def main() -> None:
    """Runs the program in this process."""
    cores, module = int(sys.argv[1]), sys.argv[2]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
