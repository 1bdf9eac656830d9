# SPDX-License-Identifier: Apache-2.0
"""Says in words what a file is that cannot be decoded, by its own bytes and by what ffmpeg said."""

from __future__ import annotations

from stages.media_kind.reason import describe, explain

__all__ = ["describe", "explain"]
