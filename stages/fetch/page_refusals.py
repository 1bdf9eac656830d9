# SPDX-License-Identifier: Apache-2.0
"""What the refusal of a site means for the job, read off the sentence in which it is told.

yt-dlp has few classes of errors: its extractors raise one for nearly all, with the site's own words or theirs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sqscribe.errors import ErrorCode, JobFailedError, job_failure
from stages.fetch.address import spoken_text
from stages.fetch.client import refusal

__all__ = ["REFUSALS", "SITE_REFUSALS", "Refusal", "refusal_of"]

#: Characters of a site's own words in a message.
_SAID = 240
#: What yt-dlp says to people at a terminal.
_HINTS = re.compile(
    r"[\s,;]*(please report this issue on|\(caused by|See https?:|Also see"
    r"|((use|try again with|pass)( the)? )?--[a-z]).*",
    re.DOTALL | re.IGNORECASE,
)


class Refusal(NamedTuple):
    """One kind of refusal.

    Attributes:
        kind: Its name, for tests and people who read the table.
        pattern: Found in the sentence, in upper or lower case.
        code: What it means.
        sentence: What is told of the page, and what to do.
    """

    kind: str
    pattern: str
    code: ErrorCode
    sentence: str


_COOKIES = "SQSCRIBE_YTDLP_COOKIES can give the worker an account's"
_PROXY = "SQSCRIBE_YTDLP_PROXY can lend the worker another address"

#: The first that is found counts: what is narrower comes first, since sites say "unavailable" and "sign in" of all.
REFUSALS = (
    Refusal(
        "robot",
        r"not a (ro)?bot|captcha|unusual traffic|automated (quer|request|access)|anti-?bot|cloudflare (anti|chall)"
        r"|are you (a )?human"
        r"|verify (that )?you('re| are)|bot detection|impersonat",
        ErrorCode.SOURCE_UNREACHABLE,
        f"is not shown to programs: the site takes this worker for a robot; {_COOKIES} cookies, {_PROXY}",
    ),
    Refusal(
        "rate",
        r"rate.?limit|too many (requests|attempts)|\b429\b|limit (exceeded|reached)|exceeded .{0,20}limit|play limit"
        r"|try again (later|in)|temporarily blocked"
        r"|\bIP( address)? (is|has been|was) (blocked|banned|unable)",
        ErrorCode.SOURCE_UNREACHABLE,
        f"is not shown for now: the site limits how often this worker may ask; it is tried again later; {_PROXY}",
    ),
    Refusal(
        "trouble",
        r"server (error|overload)|internal (server )?error|maintenance|temporarily (un|not )available"
        r"|something went wrong|service unavailable|technical (problem|difficult)",
        ErrorCode.SOURCE_UNREACHABLE,
        "is not shown for now: the site has trouble of its own",
    ),
    Refusal(
        "formats",
        r"format is not available|no (video|audio)? ?formats found|only images are available",
        ErrorCode.SOURCE_UNREACHABLE,
        "gives this worker nothing to hear: the site distrusts it, or yt-dlp needs its JavaScript runtime (the extra "
        "`pages`) or a newer version",
    ),
    Refusal(
        "country",
        r"\bcountr(y|ies)\b|geo.?(restrict|block|lock|graph)|\bregion(s|al)?\b|territor|your (current )?location"
        r"|outside (of )?the (U\.?[SK]|EU)|blocked .{0,30}copyright grounds",
        ErrorCode.SOURCE_FORBIDDEN,
        f"is not shown where this worker is (a country); {_PROXY}",
    ),
    Refusal(
        "removed",
        r"(has|have|was|were|been|is) (already )?(removed|deleted|taken (down|offline)|terminated|suspended|withdrawn)"
        r"|no longer (available|exists|online)|account .{0,60}(closed|terminated|suspended)"
        r"|does(n't| not| no longer) exist"
        r"|copyright (claim|issue|infring)|has expired|most likely expired|been dele?ted",
        ErrorCode.SOURCE_NOT_FOUND,
        "is gone: the site has removed it",
    ),
    Refusal(
        "protected",
        r"\bDRM\b|encrypted media|copy.?protect|widevine|fairplay|playready",
        ErrorCode.SOURCE_FORBIDDEN,
        "is protected against copying (DRM)",
    ),
    Refusal(
        "age",
        r"your age|age.?(restrict|gate|limit|verif|check)|inappropriate|\bNSF[WL]\b|mature (content|audience)"
        r"|adults? only"
        r"|\b18\+|over 18",
        ErrorCode.SOURCE_FORBIDDEN,
        f"is shown to adults alone; {_COOKIES} cookies",
    ),
    Refusal(
        "members",
        r"members?.?only|members? of|available to .{0,40}members|join this channel|\bpremium\b|subscri(b|pt)"
        r"|\bpaid\b|\bpay(ing|ment|wall)?\b"
        r"|purchas|\brent(al|ed)?\b|\bbuy\b|patrons?\b|tickets?\b|entitle",
        ErrorCode.SOURCE_FORBIDDEN,
        f"is for members or those who pay; {_COOKIES} cookies",
    ),
    Refusal(
        "password",
        r"password",
        ErrorCode.SOURCE_FORBIDDEN,
        "asks for a password, which a job cannot bring; send the media file itself",
    ),
    Refusal(
        "private",
        r"\bprivate\b|protected (tweet|account|post)|friends.?only|only .{0,20}(followers|friends)"
        r"|not (been )?(shared|authori[sz]ed)"
        r"|do(es)?n't have (access|permission)|do(es)? not have (access|permission)|access (is )?(denied|restricted)"
        r"|forbidden",
        ErrorCode.SOURCE_FORBIDDEN,
        f"is private; {_COOKIES} cookies, or its owner can share it",
    ),
    Refusal(
        "live",
        r"live ?(event|stream)? .{0,20}(will begin|not (yet )?started|not begun)|premieres? (in|on|at)\b"
        r"|not (yet )?(started|aired)"
        r"|currently live|is (currently )?(offline|live)\b|starts? in \d|will begin in|upcoming|not currently live"
        r"|livestream has not",
        ErrorCode.MEDIA_UNREADABLE,
        "is a live broadcast, or one still to come; send it when it has ended",
    ),
    Refusal(
        "sign in",
        r"sign(ed)?.?in\b|log(ged)?.?(in|on)\b|registered users|authenticat|\bcookies\b|credentials|(your|an) account"
        r"|unauthori[sz]ed"
        r"|authorization",
        ErrorCode.SOURCE_FORBIDDEN,
        f"asks to sign in; {_COOKIES} cookies",
    ),
    Refusal(
        "player",
        r"no suitable extractor",
        ErrorCode.MEDIA_UNREADABLE,
        "holds a player of a site whose pages this worker does not read; SQSCRIBE_YTDLP_EXTRACTORS has the list",
    ),
    Refusal(
        "nothing",
        r"\bno (video|audio|media|formats?|playable|stream|content|sound|recording)|not (a|an) (video|audio|media)"
        r"|unsupported url"
        r"|no media|does not (contain|have) (a |any )?(video|audio|media)",
        ErrorCode.MEDIA_UNREADABLE,
        "holds no recording",
    ),
    Refusal(
        "gone",
        r"unavailable|not available|isn't available|not found|\bremoved\b|\bdeleted\b|\b404\b|\b410\b"
        r"|invalid (video|id|url)"
        r"|could not find|unable to find|no such",
        ErrorCode.SOURCE_NOT_FOUND,
        "is not there: the site has no such recording, or not any more",
    ),
)
_COMPILED = tuple((re.compile(refusal.pattern, re.IGNORECASE), refusal) for refusal in REFUSALS)
#: Words that yt-dlp's own failures have too, so they count only where it takes them for the site's.
_LOOSE = frozenset({"gone", "nothing"})
#: By kind.
SITE_REFUSALS = {refusal.kind: refusal for refusal in REFUSALS}


def refusal_of(
    page: str, text: str, *, expected: bool, kind: str | None = None, status: int | None = None
) -> JobFailedError:
    """The error that a refusal means.

    Args:
        page: The page as it may be shown.
        text: What yt-dlp or the site says.
        expected: Whether yt-dlp takes it for the site's answer, rather than for a fault of its own.
        kind: Of the refusal, where it is known without reading.
        status: Of the HTTP answer that yt-dlp stumbled over.
    """
    text = _HINTS.sub("", " ".join(text.split()))
    said = spoken_text(text)[:_SAID].rstrip(" .;,")
    quoted = f" (it is said: {said})" if said else ""
    known = "rate" if status == 429 else kind
    found = SITE_REFUSALS[known] if known else _read(text, expected=expected)
    if status is not None and not _tells_more(found, text):
        return refusal(status, f"{page}: yt-dlp met HTTP status {status}")
    if found:
        return job_failure(found.code, f"{page} {found.sentence}{quoted}")
    if expected:
        return job_failure(ErrorCode.MEDIA_UNREADABLE, f"{page} gives no recording{quoted}")
    # Neither a site's answer nor a network error: the site has changed, or distrusts a program.
    return job_failure(
        ErrorCode.SOURCE_UNREACHABLE, f"{page} could not be read{quoted}; a newer yt-dlp may know the site better"
    )


def _read(text: str, *, expected: bool) -> Refusal | None:
    rows = (row for pattern, row in _COMPILED if pattern.search(text))
    return next((row for row in rows if expected or row.kind not in _LOOSE), None)


def _tells_more(found: Refusal | None, text: str) -> bool:
    """Whether a site's words are more than the name of its HTTP status."""
    return found is not None and (found.kind in ("robot", "rate") or "HTTP Error" not in text)
