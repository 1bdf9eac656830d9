# SPDX-License-Identifier: Apache-2.0
"""Brings the models and recordings of `make real`, checks them, and says what is there."""

from __future__ import annotations

import sys

from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.packages import ITEMS
from sqscribe_bench.real.recordings import speech_folder


def main() -> int:
    """Succeeds whatever could not be had: its tests are skipped with the reason."""
    cache = Cache()
    for item in ITEMS.values():
        try:
            print(f"{item.name}: {cache.item(item, check=True)}", flush=True)
        except CannotBeHadError as error:
            print(f"{item.name}: cannot be had: {error}", flush=True)
    try:
        print(f"recordings: {speech_folder()}")
    except CannotBeHadError as error:
        print(f"recordings: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
