# SPDX-License-Identifier: Apache-2.0
"""Web pages that were fetched in place of the recording that they show, or refuse."""

from __future__ import annotations

import re
from html import unescape

__all__ = ["page_kind"]

_PAGE = re.compile(
    r"(?:\s|<\?xml[^>]*\?>|<!--[\s\S]*?-->)*<(?:!doctype\s+html|html|head|body|title|meta|script|div|p|h1|center|table|form|iframe|link)\b",
    re.IGNORECASE,
)
_TITLE = re.compile(r"<(?:title|h1)[^>]*>([^<]{1,300})", re.IGNORECASE)

_GOOGLE_DRIVE = (
    "a page of Google Drive that asks whether to download the file: send an address that gives the file at once"
)
_NO_PROGRAMS = (
    "a page that asks whether a person is there: the site keeps programs out; put the file into a bucket, or send "
    "another address of it"
)
_SIGN_IN = "a page that asks to sign in: send a presigned or public address of the file"
_ERROR = "an error page that was saved in place of the file: look at the address in a browser"

#: In order: what a page says anywhere in its head, and what that makes it.
_SIGNS: tuple[tuple[str, str], ...] = (
    (r"t scan this file for viruses|uc-download-link|download_warning", _GOOGLE_DRIVE),
    (r"just a moment\.\.\.|cf-challenge|cf_chl_|captcha|verify (?:that )?you are (?:a )?human", _NO_PROGRAMS),
    (r"are you a robot|confirm (?:that )?you(?:'|&#39;)?re not a (?:ro)?bot", _NO_PROGRAMS),
    (r"type=[\"']?password|accounts\.google\.com|login\.microsoftonline|SAMLRequest|oauth2?/authorize", _SIGN_IN),
    (r"action=[\"'][^\"'>]*(?:log-?in|sign-?in|auth)", _SIGN_IN),
    (r"<title[^>]*>[^<]*(?:log ?in|sign ?in|log ?on|anmeld|connexion|iniciar ses|accedi|登录|ログイン)", _SIGN_IN),
    (r"(?:please|you (?:must|need to)|to continue,?) (?:log|sign) ?in", _SIGN_IN),
    (r"(?:log|sign) ?in to (?:continue|your|access|view|download)", _SIGN_IN),
    (r"<(?:title|h1)[^>]*>[^<]*\b(?:40[0-9]|41[0-9]|5[0-9]{2}|expired|moved)\b", _ERROR),
    (r"<(?:title|h1)[^>]*>[^<]*(?:not found|forbidden|denied|unauthori[sz]ed|error|unavailable)", _ERROR),
)


def page_kind(text: str) -> str | None:
    """What a web page is, and what to do; None if the text is none."""
    if not _PAGE.match(text):
        return None
    found = _TITLE.search(text)
    title = " ".join(unescape(found[1]).split())[:80] if found else ""
    named = f' (its title is "{title}")' if title else ""
    for sign, what in _SIGNS:
        if re.search(sign, text, re.IGNORECASE):
            return f"{what}{named}"
    return f"a web page (HTML), not a media file: send the address of the file itself{named}"
