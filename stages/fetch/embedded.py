# SPDX-License-Identifier: Apache-2.0
"""Clips that came with their job."""

from __future__ import annotations

from sqscribe.data_urls import split_data
from sqscribe.errors import ErrorCode, PermanentError
from stages.fetch.writer import SourceWriter

__all__ = ["write_embedded"]


def write_embedded(url: str, writer: SourceWriter) -> None:
    """Writes what a `data:` URL holds.

    Raises:
        Cancelled: The job is called off.
        NodeFaultError: The disk failed.
        PermanentError: `bad_message`, `source_too_large`.
    """
    try:
        clip = split_data(url)
    except ValueError as error:
        raise PermanentError(ErrorCode.BAD_MESSAGE, f"the source {error}") from error
    writer.declare(len(clip.content))
    writer.write(clip.content)
