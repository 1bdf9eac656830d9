# SPDX-License-Identifier: Apache-2.0
"""Which addresses a stranger's URL may lead to: the guard against server-side request forgery.

A name is resolved once, every answer is checked, and the connection goes to a checked answer, so a name server that
changes its mind between check and use gains nothing. Each redirect passes here again.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.sources import WEB_SCHEMES
from sqscribe.urls import redact

__all__ = ["AddressPolicy", "port_of", "spoken_text"]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Below 1024 only the web's own ports, else a URL can talk to mail, SSH or SMB servers.
_WEB_PORTS = frozenset({80, 443})
#: From 1024 up, those that browsers refuse, https://fetch.spec.whatwg.org/#port-blocking
_BAD_PORTS = frozenset({1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080}) | set(
    range(6665, 6670)
)

#: Somebody's own network: only with `allow_private`.
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
#: Instance metadata and cloud-internal services: never, not even with `allow_private`. The link-local range
#: (169.254.169.254 of AWS, GCP, Azure and SaladCloud; 169.254.170.2 of ECS) is refused as a whole below.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's host agent, on a public address
        "192.0.0.192",  # Oracle
        "fd00:ec2::23",  # EKS pod identity
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # GCP
    )
)
#: Not the internet, although `is_global` of older Pythons (seen on 3.11.7) says so.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "5f00::/16", "2001::/23")
)
#: All of today's global IPv6 addresses lie here (IANA); what lies elsewhere is special in some way.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)


class AddressPolicy:
    """Says yes or no to URLs and addresses, and connects to those it said yes to. Thread-safe.

    Args:
        allow_private: Whether private and loopback addresses may be reached. The metadata address never is.
        resolve: As `socket.getaddrinfo`.
    """

    def __init__(self, allow_private: bool, resolve: Callable[..., Iterable[Any]] = socket.getaddrinfo) -> None:
        self._allow_private = allow_private
        self._resolve = resolve

    def check_url(self, url: str) -> Url:
        """The parsed URL, when scheme and port are such as may be asked.

        urllib3's parser is the only one that decides where a connection goes: two parsers that disagree about a
        host are a way around the check.

        Raises:
            PermanentError: `bad_message` for what is no URL, `source_blocked` for a scheme or port.
        """
        try:
            parsed = parse_url(url)
        except LocationParseError as error:
            raise PermanentError(ErrorCode.BAD_MESSAGE, f"{redact(url)} is not a URL") from error
        if parsed.scheme not in WEB_SCHEMES:
            raise PermanentError(
                ErrorCode.SOURCE_BLOCKED, f"{redact(url)}: the scheme {parsed.scheme!r} is refused; use http or https"
            )
        if not parsed.host:
            raise PermanentError(ErrorCode.BAD_MESSAGE, f"{redact(url)} names no host")
        port = port_of(parsed)
        if port not in _WEB_PORTS and (port < 1024 or port in _BAD_PORTS):
            raise PermanentError(
                ErrorCode.SOURCE_BLOCKED, f"{redact(url)}: port {port} is refused; it is not the web's"
            )
        return parsed

    def addresses(self, host: str, port: int) -> list[tuple[int, Any]]:
        """Resolves a name, once, and checks every answer.

        Returns:
            Address families and socket addresses, in the resolver's order.

        Raises:
            PermanentError: `source_blocked`, when any answer is not allowed.
            OSError: The name cannot be resolved.
        """
        try:
            answers = list(self._resolve(host, port, type=socket.SOCK_STREAM))
        except UnicodeError as error:  # a label of more than 63 characters, or an empty one
            raise PermanentError(ErrorCode.BAD_MESSAGE, f"{host[:80]!r} is no host name") from error
        for *_, address in answers:
            refusal = self.refusal(ipaddress.ip_address(address[0]))
            if refusal:
                # The answer itself is not told: it would show the inside of a network to whoever sent the job.
                raise PermanentError(ErrorCode.SOURCE_BLOCKED, f"{host} leads to {refusal}, which is refused")
        return [(family, address) for family, _, _, _, address in answers]

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connects to the first allowed address that answers.

        Raises:
            PermanentError: `source_blocked`.
            OSError: The name cannot be resolved or nothing answers.
        """
        failure: OSError | None = None
        for family, address in self.addresses(host, port):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(timeout)
                connection.connect(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure or OSError(f"{host} has no address")

    def answers(self, host: str, port: int, timeout: float) -> bool:
        """Whether a connection comes about, which is then closed: for asking whether the network works."""
        try:
            self.connect(host, port, timeout).close()
        except (OSError, PermanentError):
            return False
        return True

    def refusal(self, address: IPAddress) -> str | None:
        """What kind of forbidden address this is, or None when it may be connected to."""
        for inner in _embedded(address):
            kind = self._kind(inner)
            if kind:
                return kind
        return None

    def _kind(self, address: IPAddress) -> str | None:
        if address in _METADATA or address.is_link_local:
            return "a metadata or link-local address"
        if any(address in network for network in _PRIVATE):
            return None if self._allow_private else "a private address"
        outside = isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6
        special = address.is_multicast or address.is_unspecified or address.is_reserved or not address.is_global
        if outside or special or any(address in network for network in _NEVER):
            return "a reserved address"
        return None


def port_of(url: Url) -> int:
    """The port that a checked URL names or implies."""
    return url.port or (443 if url.scheme == "https" else 80)


def spoken_text(text: str) -> str:
    """Somebody else's message, made fit for messages and logs: no credentials or queries, and not too long."""
    bare = re.sub(r"https?://[^\s'\"<>]+", lambda match: redact(match[0]), text)
    return re.sub(r"\?[\w.~%-]+=[^\s'\"<>]*", "", bare)[:1000]


def _embedded(address: IPAddress) -> list[IPAddress]:
    """The addresses at which a packet to this one may end up."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64:
        return [low]
    if address in _V4_COMPATIBLE and int(address) > 1:  # :: and ::1 are no such addresses
        return [low]
    found: list[IPAddress] = [address]
    if address.sixtofour:
        found.append(address.sixtofour)
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP_MARKS:
        found.append(low)
    return found
