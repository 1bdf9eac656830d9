# SPDX-License-Identifier: Apache-2.0
"""All rows of the media table."""

from __future__ import annotations

from sqscribe_bench.media.hostile import HOSTILE
from sqscribe_bench.media.kinds import KINDS
from sqscribe_bench.media.oddities import ODDITIES
from sqscribe_bench.media.row import Row

__all__ = ["ROWS"]

ROWS: tuple[Row, ...] = (*KINDS, *ODDITIES, *HOSTILE)
