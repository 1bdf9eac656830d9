# SPDX-License-Identifier: Apache-2.0
"""A proxy between this worker and a site, told by the address where to connect to.

A proxy that is given a name looks it up by itself, behind the back of the address policy. So it is given the address
that was checked, in a CONNECT, for plain HTTP too; TLS still names and verifies the site's own host.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from sqscribe.errors import ErrorCode, NodeFaultError, SettingsError
from stages.fetch.resolve import STEP_SECONDS

__all__ = ["Proxy", "read_proxy", "tunnel"]

#: A proxy's answer to CONNECT is a few lines.
_ANSWER_BYTES = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is.

    Attributes:
        setting: The name of the setting, for messages.
        authorization: The value of `Proxy-Authorization`.
    """

    host: str
    port: int
    setting: str
    authorization: str | None = field(default=None, repr=False)

    def fault(self, why: str) -> NodeFaultError:
        """What it means for a job that the proxy cannot be used: nothing, it is the worker's own setting."""
        return NodeFaultError(f"the proxy of {self.setting} {why}", ErrorCode.SOURCE_UNREACHABLE)


def read_proxy(url: str, setting: str) -> Proxy:
    """Reads `http://[user:password@]host:port`.

    Raises:
        SettingsError: It is none; the message does not hold it, since it may hold a password.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme != "http" or parts.path not in ("", "/"):
        raise SettingsError(f"{setting} must be http://host:port or http://user:password@host:port")
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    authorization = f"Basic {b64encode(user.encode()).decode()}" if parts.username else None
    return Proxy(host, port or 80, setting, authorization)


def tunnel(
    connection: socket.socket, proxy: Proxy, address: tuple[Any, ...], deadline: float, check: Callable[[], None]
) -> None:
    """Has the proxy connect to an address.

    Args:
        connection: To the proxy; afterwards, to the address.
        proxy: Its credentials.
        address: A checked one, as a socket takes it.
        deadline: By the monotonic clock.
        check: Called several times a second; what it raises ends the wait.

    Raises:
        NodeFaultError: The proxy refuses this worker.
        OSError: It cannot connect; `TimeoutError`: not in time.
    """
    place = ipaddress.ip_address(address[0])
    target = f"{place}:{address[1]}" if place.version == 4 else f"[{place}]:{address[1]}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    connection.settimeout(STEP_SECONDS)
    connection.sendall("\r\n".join((*lines, "", "")).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        check()
        if time.monotonic() >= deadline:
            raise TimeoutError("the proxy said nothing in time")
        try:
            # One byte more than the answer would be one of the site's.
            part = connection.recv(1)
        except TimeoutError:
            continue
        if not part or len(answer) > _ANSWER_BYTES:
            raise proxy.fault("is no HTTP proxy, or closed the connection")
        answer += part
    status = _STATUS.match(answer)
    code = int(status[1]) if status else 0
    if code in (0, 401, 403, 405, 407):
        raise proxy.fault(f"refuses CONNECT with status {code}" if code else "is no HTTP proxy")
    if code != 200:
        raise ConnectionError(f"the proxy cannot connect to it (status {code})")
