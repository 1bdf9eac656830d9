# SPDX-License-Identifier: Apache-2.0
"""Makes a model with random weights, as a JSON object says, in half precision on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stages.inference.whisper.random_model import make_random_model

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    make_random_model(Path(order.pop("folder")), steady=True, quantization="float16", **order)
