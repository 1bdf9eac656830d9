# SPDX-License-Identifier: Apache-2.0
"""Where a stranger's URL may lead to: the guard against server-side request forgery.

A name is resolved once, every answer is checked, and the connection goes to a checked answer, so a name server that
changes its mind between check and use gains nothing. Each redirect passes here again.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

from urllib3.util import Url

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.urls import redact
from stages.fetch.address_rules import IPAddress, address_kind, name_kind, port_is_refused
from stages.fetch.dial import SocketAddress, dial
from stages.fetch.host import literal_address, port_of, web_url
from stages.fetch.proxy import Proxy, tunnel
from stages.fetch.resolve import Resolver

__all__ = ["AddressPolicy", "port_of", "spoken_text"]


def _nothing() -> None:
    """No sign of life is asked for."""


class AddressPolicy:
    """Says yes or no to URLs and addresses, and connects to those it said yes to. Thread-safe.

    Args:
        allow_private: Whether private and loopback addresses may be reached. The metadata address never is.
        resolve: As `socket.getaddrinfo`.
    """

    def __init__(self, allow_private: bool, resolve: Callable[..., Iterable[Any]] = socket.getaddrinfo) -> None:
        self._allow_private = allow_private
        self._resolver = Resolver(resolve)
        self._proxy: Proxy | None = None

    def through(self, proxy: Proxy) -> AddressPolicy:
        """The same policy, whose connections a proxy makes. Names are still looked up here, and checked."""
        other = copy(self)
        other._proxy = proxy  # noqa: SLF001 - one of its own class
        return other

    def check_url(self, url: str) -> Url:
        """The parsed URL, when scheme, host and port are such as may be asked.

        Raises:
            PermanentError: `bad_message` for what is no URL, `source_blocked` for what is refused.
        """
        parsed = web_url(url)
        port = port_of(parsed)
        if port_is_refused(port):
            raise PermanentError(
                ErrorCode.SOURCE_BLOCKED, f"{redact(url)}: port {port} is refused; it is not the web's"
            )
        self._check_host(parsed.host or "")
        return parsed

    def addresses(
        self, host: str, port: int, deadline: float, check: Callable[[], None] = _nothing
    ) -> list[SocketAddress]:
        """Resolves a name, once, and checks every answer.

        Args:
            host: A name, or an address without brackets.
            port: For the socket addresses.
            deadline: By the monotonic clock.
            check: Called several times a second while the resolver is waited for; what it raises ends the wait.

        Returns:
            Address families and socket addresses, in the resolver's order.

        Raises:
            PermanentError: `source_blocked`, when any answer is not allowed.
            OSError: The name cannot be resolved, or not in time.
        """
        self._check_host(host)
        try:
            answers = self._resolver.answers(host, port, deadline, check)
        except UnicodeError as error:  # a label of more than 63 characters, or an empty one
            raise PermanentError(ErrorCode.BAD_MESSAGE, f"{host[:80]!r} is no host name") from error
        for *_, address in answers:
            self._check(host, ipaddress.ip_address(address[0].partition("%")[0]))
        return [(family, address) for family, _, _, _, address in answers]

    def connect(self, host: str, port: int, timeout: float, check: Callable[[], None] = _nothing) -> socket.socket:
        """Connects to the first allowed address that answers.

        Args:
            host: A name, or an address without brackets.
            port: Is not checked.
            timeout: Seconds for all of it, however many addresses the name has; then also the socket's.
            check: Called several times a second; what it raises ends the tries.

        Raises:
            NodeFaultError: The proxy cannot be used.
            PermanentError: `source_blocked`.
            OSError: The name cannot be resolved or nothing answers.
        """
        deadline = time.monotonic() + timeout
        addresses = self.addresses(host, port, deadline, check)
        if self._proxy:
            connection = self._tunnelled(self._proxy, addresses, deadline, check)
        else:
            connection = dial(addresses, deadline, check)
        connection.settimeout(timeout)
        return connection

    def _tunnelled(
        self, proxy: Proxy, addresses: list[SocketAddress], deadline: float, check: Callable[[], None]
    ) -> socket.socket:
        # The proxy is the worker's own setting: no address of it is refused. Few proxies speak IPv6.
        _, address = min(addresses, key=lambda each: each[0] != socket.AF_INET)
        try:
            places = self._resolver.answers(proxy.host, proxy.port, deadline, check)
            connection = dial([(family, place) for family, _, _, _, place in places], deadline, check)
        except (OSError, UnicodeError) as error:
            raise proxy.fault("cannot be reached") from error
        try:
            tunnel(connection, proxy, address, deadline, check)
        except BaseException:
            connection.close()
            raise
        return connection

    def answers(self, host: str, port: int, timeout: float) -> bool:
        """Whether a connection comes about, which is then closed: for asking whether the network works."""
        try:
            self.connect(host, port, timeout).close()
        except (OSError, PermanentError):
            return False
        return True

    def refusal(self, address: IPAddress) -> str | None:
        """What kind of forbidden address this is, or None when it may be connected to."""
        return address_kind(address, allow_private=self._allow_private)

    def _check_host(self, host: str) -> None:
        address = literal_address(host)
        if address is not None:
            self._check(host, address)
            return
        kind = name_kind(host.lower().rstrip("."), allow_private=self._allow_private)
        if kind:
            raise _refused(host, kind)

    def _check(self, host: str, address: IPAddress) -> None:
        kind = self.refusal(address)
        if kind:
            raise _refused(host, kind)


def spoken_text(text: str) -> str:
    """Somebody else's message, made fit for messages and logs: no credentials or queries, and not too long."""
    bare = re.sub(r"https?://[^\s'\"<>]+", lambda match: redact(match[0]), text)
    return re.sub(r"\?[\w.~%-]+=[^\s'\"<>]*", "", bare)[:1000]


def _refused(host: str, kind: str) -> PermanentError:
    # The answer itself is not told: it would show the inside of a network to whoever sent the job.
    return PermanentError(ErrorCode.SOURCE_BLOCKED, f"{host} leads to {kind}, which is refused")
