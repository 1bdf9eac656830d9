# SPDX-License-Identifier: Apache-2.0
"""The commands of `sqscribe bench`: they turn options into a plan and show the report on it.

What is measured, and how, is in `sqscribe_bench`, which is loaded when a command runs.
"""

from __future__ import annotations

from sqscribe.cli.bench.compare import app

__all__ = ["app"]
