# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests of the worker."""

from __future__ import annotations

import ssl
from functools import cache
from types import SimpleNamespace

import pytest

#: To read this machine's certificates takes longer than to build the rest of a worker.
TLS = cache(ssl.create_default_context)


@pytest.fixture(autouse=True)
def one_tls_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers of these tests share one."""
    monkeypatch.setattr("stages.fetch.ssl", SimpleNamespace(create_default_context=TLS))
