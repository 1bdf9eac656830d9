# SPDX-License-Identifier: Apache-2.0
"""Why a connection failed, in words."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from urllib3.exceptions import (
    DecodeError,
    IncompleteRead,
    InvalidChunkLength,
    InvalidHeader,
    ReadTimeoutError,
)

__all__ = ["is_untrusted", "reason"]

#: OpenSSL's X509_V_ERR codes, https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_CERTIFICATE: Final[Mapping[int, str]] = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed",
    19: "its certificate is signed by an authority that nobody knows (self-signed)",
    20: "its certificate is signed by an authority that nobody knows, or the chain lacks a link",
    21: "its certificate cannot be verified; the chain may lack a link",
    23: "its certificate was revoked",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}
#: Parts of OpenSSL's reasons, https://github.com/openssl/openssl/blob/master/crypto/err/openssl.txt
_TLS: Final[Mapping[str, str]] = {
    "WRONG_VERSION_NUMBER": "what answers does not speak TLS; the address may be meant for http://",
    "HTTP_REQUEST": "what answers does not speak TLS; the address may be meant for http://",
    "RECORD_LAYER": "what answers does not speak TLS; the address may be meant for http://",
    "UNSUPPORTED_PROTOCOL": "it speaks only versions of TLS that are no longer safe",
    "PROTOCOL_VERSION": "it shares no version of TLS with this worker",
    "HANDSHAKE_FAILURE": "it shares no way of encryption with this worker",
    "NO_CIPHERS": "it shares no way of encryption with this worker",
    "KEY_TOO_SMALL": "its keys are too weak for TLS",
    "UNRECOGNIZED_NAME": "it has no certificate for that host name",
    "CERTIFICATE_REQUIRED": "it asks for a certificate of the caller",
    "UNEXPECTED_EOF": "the connection broke off amid TLS",
}
_SYSTEM: Final[Mapping[int, str]] = {
    errno.ECONNREFUSED: "the connection was refused; nothing listens there",
    errno.ECONNRESET: "the connection was reset",
    errno.ECONNABORTED: "the connection was aborted",
    errno.EPIPE: "the connection was closed while the request was sent",
    errno.ETIMEDOUT: "nobody answered in time",
    errno.ENETUNREACH: "there is no way to its network",
    errno.EHOSTUNREACH: "there is no way to that host",
    errno.ENETDOWN: "the network is down",
    errno.EADDRNOTAVAIL: "there is no way to that address",
}
_NAMES: Final[Mapping[int, str]] = {
    socket.EAI_NONAME: "its host name does not resolve: there is no such host",
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): "its host name has no address",
    socket.EAI_AGAIN: "its host name cannot be resolved for now",
    socket.EAI_FAIL: "its host name cannot be resolved: the name server failed",
}


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    return _CERTIFICATE.get(error.verify_code, f"its certificate is not valid ({error.verify_message})")


def _tls(error: ssl.SSLError) -> str:
    name = (getattr(error, "reason", None) or str(error)).upper().replace(" ", "_")
    known = next((text for part, text in _TLS.items() if part in name), None)
    return known or f"the TLS connection failed ({name.lower().replace('_', ' ')[:80]})"


def _http(error: http.client.HTTPException) -> str:
    match error:
        case http.client.RemoteDisconnected():
            return "the connection was closed without an answer"
        case http.client.IncompleteRead():
            return "the connection broke off before the end"
        case http.client.LineTooLong():
            return "a line of its headers is too long"
        case http.client.UnknownProtocol() | http.client.BadStatusLine():
            return "what answers is no HTTP"
        case _:
            pass
    if re.search(r"more than \d+ headers", str(error)):
        return "it sends more headers than anybody needs"
    return "what it sends is no HTTP"


def _system(error: OSError) -> str:
    known = _SYSTEM.get(error.errno or 0)
    if known:
        return known
    return f"the connection failed ({error.strerror})" if error.strerror else "the connection failed"


#: The first that fits, of the first error in a chain that any fits.
_WORDS: Final[tuple[tuple[type[BaseException], Callable[[Any], str]], ...]] = (
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, _tls),
    (socket.gaierror, lambda error: _NAMES.get(error.errno, "its host name cannot be resolved")),
    (UnicodeError, lambda _: "its host name is none"),
    (IncompleteRead, lambda _: "the connection broke off before the end"),
    (http.client.HTTPException, _http),
    (ReadTimeoutError, lambda _: "it fell silent amid the answer"),
    (InvalidChunkLength, lambda _: "the pieces of its body are not as they are declared"),
    (InvalidHeader, lambda _: "its headers contradict each other"),
    (DecodeError, lambda _: "the compressed body is damaged"),
    (TimeoutError, lambda _: "nobody answered in time"),
    (OSError, _system),
)


def reason(error: BaseException) -> str:
    """Why a connection failed: a clause without a class's name in it."""
    for link in _chain(error):
        for kind, words in _WORDS:
            if isinstance(link, kind):
                return words(link)
    return "the connection broke off"


def is_untrusted(error: BaseException) -> bool:
    """Whether the server's certificate is what is wrong: another try at once would meet the same."""
    return any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made from. urllib3 wraps what the socket raised, and sometimes only in `args`."""
    seen: list[BaseException] = [error]
    for link in seen:
        inner = [arg for arg in link.args if isinstance(arg, BaseException)]
        nearby = (*inner, link.__cause__, link.__context__)
        seen.extend(other for other in nearby if isinstance(other, BaseException) and other not in seen)
        yield link
