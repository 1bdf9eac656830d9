# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests of the worker."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Workers share one: to read this machine's certificates takes longer than to build the rest of a worker."""
    context = ssl.create_default_context()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.fetch.ssl", SimpleNamespace(create_default_context=lambda: context))
        yield
