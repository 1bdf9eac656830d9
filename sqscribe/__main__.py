# SPDX-License-Identifier: Apache-2.0
"""`python -m sqscribe`: the command line."""

from __future__ import annotations

from sqscribe.cli import main

if __name__ == "__main__":
    main()
