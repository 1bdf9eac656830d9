# SPDX-License-Identifier: Apache-2.0
"""Makes models with random weights and recordings, so that no step that is measured has to wait for them.

It is started with the cache's folder, the models comma-separated, and each workload as `NAME=SCALE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sqscribe_bench.lab.library import Library
from sqscribe_bench.lab.model import model_folder
from sqscribe_bench.lab.workload import WARM_UP, workload

if __name__ == "__main__":
    cache = Path(sys.argv[1])
    for model in sys.argv[2].split(","):
        print(model_folder(model, cache), flush=True)
    scales = dict(each.split("=") for each in sys.argv[3:])
    wanted = [each for name, scale in scales.items() for each in workload(name, float(scale)).recordings]
    print(Library(cache).make([WARM_UP, *dict.fromkeys(wanted)]), "recordings made", flush=True)
