# SPDX-License-Identifier: Apache-2.0
"""sqscribe: bulk transcription from SQS to S3. What other programs import, and the command line."""

from __future__ import annotations

from sqscribe.errors import ErrorCode, SqscribeError
from sqscribe.transcript import Segment, Transcript, Word

__all__ = ["ErrorCode", "Segment", "SqscribeError", "Transcript", "Word", "__version__"]

__version__ = "0.1.0"
