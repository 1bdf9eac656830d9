# SPDX-License-Identifier: Apache-2.0
"""Files of this machine, for the command line alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqscribe.errors import ErrorCode, PermanentError
from stages.fetch.http import CHUNK
from stages.ports import Cancellation
from stages.values import Media, Source

__all__ = ["open_local"]


def open_local(source: str, link: Path, max_bytes: int, cancellation: Cancellation) -> Source:
    """Makes `link` in the scratch folder point at a file, so that it is neither copied nor ever removed.

    Args:
        source: A path, or a `file://` URL.
        link: Where the link is made.
        max_bytes: Largest file.
        cancellation: Looked at while the file is hashed.

    Raises:
        Cancelled: The job is called off.
        PermanentError: `source_not_found`, `source_forbidden`, `source_too_large`.
    """
    path = Path(unquote(urlsplit(source).path) if source.startswith("file://") else source).expanduser().absolute()
    if not path.exists():
        raise PermanentError(ErrorCode.SOURCE_NOT_FOUND, f"{path} does not exist")
    if not path.is_file():
        raise PermanentError(ErrorCode.SOURCE_NOT_FOUND, f"{path} is not a regular file")
    size = path.stat().st_size
    if size > max_bytes:
        raise PermanentError(
            ErrorCode.SOURCE_TOO_LARGE, f"{path} has {size} bytes; SQSCRIBE_MAX_SOURCE_BYTES allows {max_bytes}"
        )
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                cancellation.check()
                digest.update(chunk)
    except PermissionError as error:
        raise PermanentError(ErrorCode.SOURCE_FORBIDDEN, f"{path} may not be read by this user") from error
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return Source(path=link, bytes=size, sha256=digest.hexdigest(), media=Media(title=path.name))
