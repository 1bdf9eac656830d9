# SPDX-License-Identifier: Apache-2.0
"""Which addresses, names and ports are nobody's to fetch from: the lists, and how an address is held against them."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["IPAddress", "address_kind", "is_wrapped", "name_kind", "port_is_refused"]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: What an address or name is called in the message of its refusal.
METADATA = "a metadata or link-local address"
PRIVATE = "a private address"
RESERVED = "a reserved address"

#: Somebody's own network: only with `allow_private`.
_PRIVATE_NETWORKS = tuple(
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
#: Instance metadata and cloud-internal services: never, not even with `allow_private`. The link-local ranges
#: (169.254.169.254 of AWS, GCP, Azure and SaladCloud; 169.254.170.2 of ECS; fe80::a9fe:a9fe of OpenStack) are refused
#: as a whole besides.
_METADATA_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host agent, on a public address
        "192.0.0.192/32",  # Oracle
        "fd00:42::42/128",  # Scaleway
        "fd00:c1::a9fe:a9fe/128",  # Oracle
        "fd00:ec2::/32",  # AWS: metadata, pod identity, name servers, time
        "fd20:ce::254/128",  # GCP
    )
)
#: Not the internet, although `is_global` of older Pythons (seen on 3.11.7) says so. 6to4 (2002::/16) is given up, RFC
#: 7526; today it leads where somebody wants it to.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b:1::/48",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
#: All of today's global IPv6 addresses lie here (IANA); what lies elsewhere is special in some way.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_TRANSLATED = (
    _NAT64,
    _V4_COMPATIBLE,
    ipaddress.IPv6Network("::ffff:0:0:0/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 of a local prefix
    ipaddress.IPv6Network("2001::/32"),  # Teredo
)
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)

#: Names of metadata services, whatever they resolve to.
_METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.com",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
        "rancher-metadata",
    }
)
#: Names that mean this machine or this network, https://www.iana.org/assignments/special-use-domain-names and what
#: clusters and routers use; some resolvers know them, some do not. Only with `allow_private`.
_PRIVATE_NAMES = frozenset(
    {"ip6-localhost", "ip6-loopback", "localhost", "localhost4", "localhost6", "localtest.me", "loopback", "lvh.me"}
)
_PRIVATE_ENDINGS = (
    ".corp",
    ".home",
    ".home.arpa",
    ".in-addr.arpa",
    ".internal",
    ".intranet",
    ".ip6.arpa",
    ".lan",
    ".local",
    ".localdomain",
    ".localhost",
    ".localtest.me",
    ".lvh.me",
    ".onion",
    ".svc",
)
#: Services whose names resolve to the address in them, so that every checker sees a name of the internet's.
_ECHOED = re.compile(r"(?:.*[.-])?(\d{1,3}(?:[.-]\d{1,3}){3})\.(?:nip\.io|sslip\.io|xip\.io|traefik\.me)", re.ASCII)

#: Below 1024 only the web's own ports, else a URL can talk to mail, SSH or SMB servers.
_WEB_PORTS = frozenset({80, 443})
#: From 1024 up: first those that browsers refuse, https://fetch.spec.whatwg.org/#port-blocking, then data bases,
#: queues, control planes, remote desktops and proxies, many of which obey whoever reaches them.
_SERVICE_PORTS = (
    frozenset({1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080, *range(6665, 6670)})
    | frozenset({1433, 1434, 1521, 3050, 3306, 5432, 5984, 6379, 6380, 7474, 7687, 8529, 9042, 11211, 26257, 26379})
    | frozenset({9160, 9200, 9300, 16379, *range(27017, 27020)})
    | frozenset({1883, 2181, 4222, 5671, 5672, 8883, 9092, 9093, 15672, 25672, 61613, 61616})
    | frozenset({2375, 2376, 2377, 2379, 2380, 4369, 4646, 6443, 8200, 8500, 8600, 10250, 10255, 10256, 10257, 10259})
    | frozenset({1080, 1099, 3128, 3268, 3269, 3389, 5985, 5986, *range(5900, 5904)})
)


def address_kind(address: IPAddress, *, allow_private: bool) -> str | None:
    """What kind of refused address this is, by itself or by one inside it; None when it may be connected to."""
    for inner in _inside(address):
        kind = _kind(inner, allow_private=allow_private)
        if kind:
            return kind
    return None


def is_wrapped(address: IPAddress) -> bool:
    """Whether this is an IPv4 address in IPv6 clothes: a network may translate into such, but nobody writes one."""
    if isinstance(address, ipaddress.IPv4Address) or int(address) <= 1:  # :: and ::1 are no such addresses
        return False
    return address.ipv4_mapped is not None or _isatap(address) or any(address in network for network in _TRANSLATED)


def name_kind(name: str, *, allow_private: bool) -> str | None:
    """What kind of refused name this is (lower case, without a dot at its end); None when it may be looked up."""
    if name in _METADATA_NAMES:
        return METADATA
    if not allow_private and (name in _PRIVATE_NAMES or name.endswith(_PRIVATE_ENDINGS)):
        return PRIVATE
    echoed = _ECHOED.fullmatch(name)
    if echoed:
        try:
            address = ipaddress.ip_address(echoed[1].replace("-", "."))
        except ValueError:
            return RESERVED
        return address_kind(address, allow_private=allow_private)
    return None


def port_is_refused(port: int) -> bool:
    """Whether a port is another service's than the web's; private addresses are no exception."""
    return port not in _WEB_PORTS and (port < 1024 or port in _SERVICE_PORTS)


def _kind(address: IPAddress, *, allow_private: bool) -> str | None:
    if address.is_link_local or any(address in network for network in _METADATA_NETWORKS):
        return METADATA
    if any(address in network for network in _PRIVATE_NETWORKS):
        return None if allow_private else PRIVATE
    outside = isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6
    special = address.is_multicast or address.is_unspecified or address.is_reserved or not address.is_global
    if outside or special or any(address in network for network in _NEVER):
        return RESERVED
    return None


def _inside(address: IPAddress) -> list[IPAddress]:
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
    return [address, low] if _isatap(address) else [address]


def _isatap(address: ipaddress.IPv6Address) -> bool:
    return (int(address) >> 32) & 0xFFFFFFFF in _ISATAP_MARKS
