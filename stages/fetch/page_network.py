# SPDX-License-Identifier: Apache-2.0
"""yt-dlp, shut in: it reaches the network through our client alone.

A check of the first URL says nothing about the many that an extractor asks next, so yt-dlp gets one request handler,
ours, in place of its own (which also take `data:`, `ftp:` and proxies). Imports yt-dlp: load it lazily.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar
from typing import Any, TypeAlias

import structlog
from yt_dlp import YoutubeDL
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.extractor.youtube.jsc._builtin import deno
from yt_dlp.globals import plugin_dirs
from yt_dlp.networking import Request, RequestHandler, Response
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import Popen

from sqscribe.errors import SqscribeError
from sqscribe.sources import WEB_SCHEMES
from sqscribe.urls import redact
from stages.fetch.address import spoken_text
from stages.fetch.client import Answer, HttpClient, refusal
from stages.fetch.page_playlist import playlist_facts

__all__ = ["BoundedPopen", "CheckedYoutubeDL", "DebugLogger", "Extractor", "Line", "causes"]

#: One of yt-dlp's own, made when it is needed, or an object of ours.
Extractor: TypeAlias = type[InfoExtractor] | InfoExtractor

log = structlog.get_logger()

#: Largest page or manifest that is read into memory; yt-dlp itself knows no limit.
_PAGE_BYTES = 32 * 2**20

# Plugins are code that was found on the machine; nobody asked for it here.
plugin_dirs.value = []


class BoundedPopen(Popen):  # type: ignore[misc]
    """A JavaScript runtime that is not waited for without end: yt-dlp sets it no limit, and the script is a site's.

    Attributes:
        seconds: How long it may take.
    """

    seconds = 30.0

    def communicate_or_kill(self, *args: Any, **more: Any) -> Any:
        """Kills it when it takes too long, and raises."""
        return super().communicate_or_kill(*args, **{"timeout": self.seconds, **more})


deno.Popen = BoundedPopen


class Line:
    """Makes yt-dlp's requests through our client, and remembers the last failure.

    yt-dlp repeats a request that fails, and of the failure it keeps only the text.

    Args:
        client: Makes the requests.
        check: Called before each step on the network; what it raises ends the download. (A progress hook that raises
            would end it too, but yt-dlp would leave its files open.)

    Attributes:
        failure: The last one; None once a request has succeeded again.
    """

    def __init__(self, client: HttpClient, check: Callable[[], None]) -> None:
        self._client = client
        self._check = check
        self.failure: SqscribeError | None = None

    def open(self, url: str, headers: dict[str, str], jar: CookieJar, method: str, body: bytes | None) -> Answer:
        """As the client's; any failure of ours becomes yt-dlp's `TransportError`."""
        with self.failures():
            answer = self._client.open(url, headers, jar, method, body)
        self.failure = None
        if not 200 <= answer.status < 300:
            self.failure = refusal(answer.status, f"{redact(answer.url)} answered {answer.status}")
        return answer

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Wraps each step on the network: an error that yt-dlp does not know would make it try another handler."""
        try:
            self._check()
            yield
        except SqscribeError as error:
            self.failure = error
            raise TransportError(cause=error) from error


class _PageAnswer(Response):  # type: ignore[misc] # yt-dlp ships no types
    """A body as yt-dlp reads it."""

    def __init__(self, answer: Answer, line: Line) -> None:
        super().__init__(fp=answer, url=answer.url, headers=answer.headers, status=answer.status, reason=answer.reason)
        self._answer = answer
        self._line = line

    @property
    def closed(self) -> bool:
        return False

    def read(self, amt: int | None = None) -> bytes:
        with self._line.failures():
            return self._answer.read(amt) if amt is not None else self._read_all()

    def _read_all(self) -> bytes:
        body = bytearray()
        while chunk := self._answer.read(_PAGE_BYTES):
            body += chunk
            if len(body) > _PAGE_BYTES:
                raise TransportError(f"the page is larger than {_PAGE_BYTES} bytes")
        return bytes(body)

    def close(self) -> None:
        self._answer.close()


class _CheckedRH(RequestHandler):  # type: ignore[misc]
    """Hands requests to our client, which checks addresses, redirects and cookies."""

    _SUPPORTED_URL_SCHEMES = WEB_SCHEMES

    def __init__(self, line: Line, **settings: Any) -> None:
        super().__init__(**settings)
        self._line = line
        self._answers = ExitStack()

    def _check_proxies(self, proxies: dict[str, str]) -> None:
        """Proxies of the environment do not count here."""

    def _check_extensions(self, extensions: dict[str, Any]) -> None:
        super()._check_extensions(extensions)
        for known in ("cookiejar", "timeout", "legacy_ssl", "keep_header_casing"):
            extensions.pop(known, None)

    def _send(self, request: Request) -> Response:
        headers = self._get_headers(request)
        headers.setdefault("Accept-Encoding", "gzip, deflate")
        body = request.data if isinstance(request.data, bytes | None) else b"".join(request.data)
        answer = self._line.open(request.url, headers, self._get_cookiejar(request), request.method, body)
        self._answers.callback(answer.close)
        response = _PageAnswer(answer, self._line)
        if not 200 <= answer.status < 300:
            raise HTTPError(response)
        return response

    def close(self) -> None:
        """yt-dlp leaves answers open where it fails."""
        self._answers.close()


class CheckedYoutubeDL(YoutubeDL):  # type: ignore[misc]
    """yt-dlp with our line as its only way out, and with the extractors that it is given and no others.

    Args:
        line: Makes its requests.
        options: As `YoutubeDL` takes them.
        extractors: Asked in this order; those that embed a player of another site find only these.
    """

    def __init__(self, line: Line, options: dict[str, Any], extractors: Sequence[Extractor]) -> None:
        self._line = line
        super().__init__(options, auto_init=False)
        for extractor in extractors:
            self.add_info_extractor(extractor)

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        """Ignores yt-dlp's own handlers."""
        del handlers, preferences
        return super().build_request_director([lambda **settings: _CheckedRH(self._line, **settings)], [])

    def dl(self, name: str, info: dict[str, Any], *rest: Any, **more: Any) -> Any:
        """Looks at a playlist of pieces before any of them is asked for."""
        if str(info.get("protocol")).startswith("m3u8") and not info.get("hls_media_playlist_data"):
            info |= playlist_facts(self, info)
        return super().dl(name, info, *rest, **more)


class DebugLogger:
    """Takes what yt-dlp would print; it is a stranger's text, so only for those who debug."""

    def debug(self, message: str) -> None:
        """Also what yt-dlp calls info."""
        log.debug("yt_dlp", message=spoken_text(message))

    info = warning = error = debug


def causes(error: BaseException) -> list[BaseException]:
    """An error of yt-dlp and all that it was made from, the outermost first."""
    found = [error]
    for link in found:
        info = getattr(link, "exc_info", None) or (None, None)
        nearby = (getattr(link, "cause", None), info[1], link.__cause__, link.__context__)
        found.extend(other for other in nearby if isinstance(other, BaseException) and other not in found)
    return found
