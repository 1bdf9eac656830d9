# SPDX-License-Identifier: Apache-2.0
"""`python -m sqscribe`: the command line."""

from __future__ import annotations

from sqscribe.shadows import watch_current_folder

if __name__ == "__main__":
    watch_current_folder()

    from sqscribe.cli import main

    main()
