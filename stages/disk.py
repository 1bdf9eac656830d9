# SPDX-License-Identifier: Apache-2.0
"""Tells a disk that fails from a job that fails."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from sqscribe.errors import NodeFaultError

__all__ = ["disk_faults"]

#: The node's trouble whatever the job is: full, over quota, read-only, broken, out of descriptors.
_NODE_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})


@contextmanager
def disk_faults() -> Iterator[None]:
    """Turns an `OSError` of the disk into `NodeFaultError`; others pass.

    Raises:
        NodeFaultError: The scratch disk is full or broken: no job is to blame.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NODE_FAULTS:
            raise
        raise NodeFaultError(
            f"the scratch disk failed ({error.strerror}); give the worker more disk or a smaller SQSCRIBE_SCRATCH_BYTES"
        ) from error
