# SPDX-License-Identifier: Apache-2.0
r"""How the host of a URL may be written: such that no two programs can read it differently.

What asks for `0x7f.1`, `127。0。0。1` or `good.test\@127.0.0.1` wants to be read in one way by whoever checks and in
another by whoever connects. There is no need to find out which: nobody writes an honest address so.
"""

from __future__ import annotations

import ipaddress
import re

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from sqscribe.errors import ErrorCode, PermanentError
from sqscribe.sources import WEB_SCHEMES
from sqscribe.urls import redact
from stages.fetch.address_rules import IPAddress, is_wrapped

__all__ = ["literal_address", "port_of", "web_url"]

#: Scheme and authority, wherever a lenient reader might see the authority's end.
_HEAD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]*[^/?#]*")
#: Browsers drop tabs and line ends anywhere, and take a backslash for a slash.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BREAKS = re.compile(r"[\s\\]")
#: RFC 3986 allows more in a name, `;` and `,` among it; DNS does not, and lists of hosts are written with them.
_NAME = re.compile(r"[a-z0-9._-]*[a-z0-9_-][a-z0-9._-]*")
#: Digits and hexadecimal numbers: https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def web_url(url: str) -> Url:
    """The parsed URL, its host in lower case, without the dot that may end a name.

    urllib3's parser is the only one that decides where a connection goes.

    Raises:
        PermanentError: `bad_message` for what is no URL, `source_blocked` for a scheme that is not the web's and for a
            host that is written in an unusual way.
    """
    head = _HEAD.match(url)
    if _CONTROL.search(url) or (head and _BREAKS.search(head[0])):
        raise _odd(url)
    try:
        parsed = parse_url(url)
    except LocationParseError as error:
        if head and (not head[0].isascii() or "%" in head[0]):
            raise _odd(url) from error
        raise PermanentError(ErrorCode.BAD_MESSAGE, f"{redact(url)} is not a URL") from error
    if parsed.scheme not in WEB_SCHEMES:
        raise PermanentError(
            ErrorCode.SOURCE_BLOCKED, f"{redact(url)}: the scheme {parsed.scheme!r} is refused; use http or https"
        )
    if not parsed.host:
        raise PermanentError(ErrorCode.BAD_MESSAGE, f"{redact(url)} names no host")
    written = head[0].rpartition("@")[2] if head else ""
    host = parsed.host.lower()
    if "%" in written or _is_odd(host):
        raise _odd(url)
    # A certificate names its host without the dot, so TLS would fail with it.
    return parsed._replace(host=host.removesuffix("."))


def literal_address(host: str) -> IPAddress | None:
    """The address that a host of a checked URL is; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def port_of(url: Url) -> int:
    """The port that a checked URL names or implies."""
    if url.port is not None:
        return url.port
    return 443 if url.scheme == "https" else 80


def _is_odd(host: str) -> bool:
    """Whether a host is neither an address as they are written, nor a name as DNS has them."""
    address = literal_address(host)
    if address is not None:
        return is_wrapped(address) or getattr(address, "scope_id", None) is not None
    last = host.rstrip(".").rpartition(".")[2]
    return bool(_NUMBER.fullmatch(last)) or not _NAME.fullmatch(host)


def _odd(url: str) -> PermanentError:
    shown = "".join(letter if letter.isprintable() else "?" for letter in url)
    return PermanentError(
        ErrorCode.SOURCE_BLOCKED,
        f"{redact(shown)}: its host is written in an unusual way, which is refused; "
        "write a name in plain letters (international ones as xn--…) or an address in its usual form",
    )
