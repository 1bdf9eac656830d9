# SPDX-License-Identifier: Apache-2.0
"""What pages may be read, and how: the settings of it. Loads yt-dlp only where a setting names its extractors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, TypeVar

from sqscribe.errors import SettingsError
from stages.fetch.page_sites import SITES
from stages.fetch.proxy import Proxy, read_proxy

__all__ = ["EVERY_SITE", "GENERIC", "PageRules"]

#: The name of yt-dlp's extractor for any page.
GENERIC = "generic"
#: It, and what finds the players of HTML itself for it.
_ANY_PAGE = frozenset({GENERIC, "html5"})
#: Stands for every site that yt-dlp knows.
EVERY_SITE = "all"

#: A file of cookies has some hundred lines.
_COOKIE_BYTES = 2**20
_COOKIE_FIELDS = 7


class Named(Protocol):
    """One of yt-dlp's extractors."""

    IE_NAME: str


E = TypeVar("E", bound=Named)


@dataclass(frozen=True, slots=True)
class PageRules:
    """The rules for pages.

    Attributes:
        extractors: Names of yt-dlp's extractors that may be used, or `EVERY_SITE`.
        generic: Whether any other page is searched for a recording too.
        cookies: Text of a Netscape cookie file: what makes sites take the worker for somebody they know.
        proxy: Between yt-dlp and the sites.
    """

    extractors: tuple[str, ...] = SITES
    generic: bool = False
    cookies: str | None = field(default=None, repr=False)
    proxy: Proxy | None = field(default=None, repr=False)

    @classmethod
    def read(cls, extractors: Sequence[str] | None, *, generic: bool, cookies: Path | None, proxy: str | None) -> Self:
        """The rules that the settings ask for.

        Raises:
            SettingsError: A file cannot be read, or a value is none; secrets are not told.
        """
        if extractors:
            _check_names(extractors)
        return cls(
            extractors=tuple(extractors) if extractors else SITES,
            generic=generic,
            cookies=_cookies(cookies) if cookies else None,
            proxy=read_proxy(proxy, "SQSCRIBE_YTDLP_PROXY") if proxy else None,
        )

    def chosen(self, extractors: Iterable[E]) -> list[E]:
        """Those of yt-dlp's extractors that may be used."""
        names = {name.lower() for name in self.extractors}
        return [
            extractor
            for extractor in extractors
            if (self.generic if extractor.IE_NAME in _ANY_PAGE else {extractor.IE_NAME.lower(), EVERY_SITE} & names)
        ]


def _check_names(names: Sequence[str]) -> None:
    from yt_dlp.extractor import gen_extractor_classes  # noqa: PLC0415 - yt-dlp is heavy

    known = {EVERY_SITE} | {extractor.IE_NAME.lower() for extractor in gen_extractor_classes()} - _ANY_PAGE
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        raise SettingsError(
            f"SQSCRIBE_YTDLP_EXTRACTORS: {', '.join(unknown)} is no site by the names of `yt-dlp --list-extractors`"
        )


def _cookies(path: Path) -> str:
    """The text of a cookie file, https://curl.se/docs/http-cookies.html."""
    setting = f"SQSCRIBE_YTDLP_COOKIES: {path}"
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= _COOKIE_BYTES else ""
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{setting} cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from error
    lines = [line.removeprefix("#HttpOnly_") for line in text.splitlines()]
    cookies = [line for line in lines if line.strip() and not line.startswith("#")]
    if not cookies or any(line.count("\t") != _COOKIE_FIELDS - 1 for line in cookies):
        raise SettingsError(
            f"{setting} is no cookie file in Netscape's format: seven fields a line, with tabs between; at most 1 MiB"
        )
    return "\n".join((*text.splitlines(), ""))
