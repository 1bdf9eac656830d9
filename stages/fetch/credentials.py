# SPDX-License-Identifier: Apache-2.0
"""The user and password of a URL: how they are sent, and where to."""

from __future__ import annotations

import base64
from typing import NamedTuple, Self
from urllib.parse import unquote_to_bytes

from urllib3.util import Url

from stages.fetch.address import port_of

__all__ = ["Origin", "basic_auth"]


class Origin(NamedTuple):
    """A place that secrets are meant for."""

    scheme: str | None
    host: str | None
    port: int

    @classmethod
    def of(cls, url: Url) -> Self:
        """The origin of a checked URL."""
        return cls(url.scheme, url.host, port_of(url))

    def trusts(self, other: Origin) -> bool:
        """Whether secrets may go along with a redirect: to the same place, or from plain to safe on the web's ports."""
        if self == other:
            return True
        return self.host == other.host and (self[::2], other[::2]) == (("http", 80), ("https", 443))


def basic_auth(user_info: str) -> str:
    """The `Authorization` header for the `user:password` of a URL, where both are percent-encoded."""
    # Of unusual letters servers expect UTF-8: https://www.rfc-editor.org/rfc/rfc7617#section-2.1
    user, _, password = user_info.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return f"Basic {base64.b64encode(pair).decode()}"
