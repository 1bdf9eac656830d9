# SPDX-License-Identifier: Apache-2.0
"""What sites and yt-dlp say, word for word, and what it means for the job."""
# ruff: noqa: E501 - sentences are not broken

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sqscribe.errors import ErrorCode
from stages.fetch.page_refusals import REFUSALS, SITE_REFUSALS, refusal_of

PAGE = "https://site.test/watch"
#: Kinds of refusal, and sentences that were seen; those of YouTube first.
SAID = {
    "robot": """
        Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser or --cookies for the authentication. See  https://github.com/yt-dlp/yt-dlp/wiki/FAQ  for how to manually pass cookies.
        Sign in to confirm you're not a bot. This helps protect our community. Learn more
        Please sign in. YouTube is requiring a captcha challenge before playback
        Got HTTP Error 403 caused by Cloudflare anti-bot challenge; try again with  --extractor-args generic:impersonate
        Our systems have detected unusual traffic from your computer network
    """,
    "rate": """
        Video unavailable. This content isn't available, try again later. The current session has been rate-limited by YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay
        You have exceeded the rate limit. Try again later
        You are rate-limited. Try again later.
        Your IP address is blocked from accessing this post
        Unable to download API page: HTTP Error 429: Too Many Requests (caused by <HTTPError 429: Too Many Requests>)
    """,
    "trouble": """
        Temporarily unavailable due to maintenance
        The site said: Internal server error
        Something went wrong
    """,
    "formats": """
        Requested format is not available. Use --list-formats for a list of available formats
        No video formats found!
    """,
    "country": """
        The uploader has not made this video available in your country
        This video is not available from your location due to geo restriction
        Video unavailable. This video contains content from UMG, who has blocked it in your country on copyright grounds
        This programme is not available in your region
    """,
    "removed": """
        This video has been removed by the uploader
        Video unavailable. This video is no longer available because the YouTube account associated with this video has been terminated.
        This video has been removed for violating YouTube's policy on nudity or sexual content
        This post was deleted by its author
        Content not found; it has most likely expired
        This video is no longer available due to a copyright claim by Somebody
        Video 42 does not exist
    """,
    "protected": """
        This video is DRM protected
        The requested site is known to use DRM protection. It will NOT be supported. Please DO NOT open an issue
    """,
    "age": """
        Sign in to confirm your age. This video may be inappropriate for some users.
        This video is age-restricted; some formats may be missing without authentication. Use --cookies-from-browser
        NSFW tweet requires authentication
    """,
    "members": """
        Join this channel to get access to members-only content like this video, and other exclusive perks.
        This video is available to this channel's members on level: Fan (or any higher level).
        This video is for premium members only
        This video requires a subscription
        You need to purchase the course to download this episode
        This post is only for patrons
    """,
    "password": """
        This video is protected by a password, use the --video-password option
        Wrong video password
    """,
    "private": """
        Private video. Sign in if you've been granted access to this video. Use --cookies-from-browser or --cookies
        You are not authorized to view this protected tweet
        This video is private
        You do not have access to this post
    """,
    "live": """
        This live event will begin in 3 hours.
        Premieres in 2 days
        This livestream has not yet started
        The channel is not currently live
    """,
    "sign in": """
        This video is only available for registered users. Use --cookies, --username and --password, --netrc-cmd, or --netrc (site) to provide account credentials
        You need to log in to access this content
        Requested content is not available; login required
    """,
    "player": "No suitable extractor (Wistia) found for URL https://fast.wistia.test/embed/1",
    "nothing": """
        No video could be found in this post
        There's no video in this tweet
        not a media file
    """,
    "gone": """
        Video unavailable
        This video is not available
        Channel not found
        Invalid URL
    """,
}
#: Each by its kind.
SENTENCES = [(kind, said) for kind, several in SAID.items() for said in several.strip().split("\n")]


@pytest.mark.parametrize(("kind", "said"), SENTENCES)
def test_a_site_is_understood(kind: str, said: str) -> None:
    error = refusal_of(PAGE, said.strip(), expected=True)
    assert SITE_REFUSALS[kind].sentence in error.message
    assert error.code is SITE_REFUSALS[kind].code
    assert error.message.startswith(PAGE)
    # What is meant for people at a terminal is of no use here
    assert "--" not in error.message
    assert "github.com" not in error.message


def test_every_kind_has_been_seen() -> None:
    assert set(SAID) == {refusal.kind for refusal in REFUSALS}


def test_what_may_be_otherwise_elsewhere_or_later_is_tried_again() -> None:
    again = {kind for kind, refusal in SITE_REFUSALS.items() if refusal.code is ErrorCode.SOURCE_UNREACHABLE}
    assert again == {"robot", "rate", "trouble", "formats"}


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (404, "Unable to download webpage: HTTP Error 404: Not Found", ErrorCode.SOURCE_NOT_FOUND),
        (403, "Unable to download JSON metadata: HTTP Error 403: Forbidden", ErrorCode.SOURCE_FORBIDDEN),
        (503, "Unable to download webpage: HTTP Error 503: Service Unavailable", ErrorCode.SOURCE_UNREACHABLE),
        (429, "Unable to download API page: HTTP Error 429: Too Many Requests", ErrorCode.SOURCE_UNREACHABLE),
        (403, "Got HTTP Error 403 caused by Cloudflare anti-bot challenge", ErrorCode.SOURCE_UNREACHABLE),
        (404, "This video is private", ErrorCode.SOURCE_FORBIDDEN),
        (403, "This video is not available in your country", ErrorCode.SOURCE_FORBIDDEN),
        (400, "", ErrorCode.SOURCE_NOT_FOUND),
    ],
)
def test_a_status_counts_where_the_words_tell_no_more(status: int, said: str, code: ErrorCode) -> None:
    assert refusal_of(PAGE, said, expected=True, status=status).code is code


@pytest.mark.parametrize(
    "said", ["Unable to find video data", "'NoneType' object is not a video", "KeyError('not found')"]
)
def test_a_failure_of_yt_dlps_own_says_nothing_of_the_recording(said: str) -> None:
    assert refusal_of(PAGE, said, expected=False).code is ErrorCode.SOURCE_UNREACHABLE


def test_the_documentation_has_each_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|`]+) \| `(\w+)`[^|]*\|$", text[text.index("| a site says |") :], re.MULTILINE))
    told = {kind.strip(): code for kinds, code in rows.items() for kind in kinds.split(",")}
    assert told == {refusal.kind: str(refusal.code) for refusal in REFUSALS}


@pytest.mark.parametrize(
    ("expected", "code"), [(True, ErrorCode.MEDIA_UNREADABLE), (False, ErrorCode.SOURCE_UNREACHABLE)]
)
def test_what_nobody_has_heard_of_is_the_sites_word_or_yt_dlps_failure(expected: bool, code: ErrorCode) -> None:
    error = refusal_of(
        PAGE, "Unable to extract nonce; please report this issue on  https://github.com/x", expected=expected
    )
    assert error.code is code
    assert "Unable to extract nonce" in error.message
    assert "report this" not in error.message


def test_a_sites_words_are_cut_and_carry_no_secrets() -> None:
    error = refusal_of(PAGE, "Private: https://u:p@site.test/v?token=abc " + "x" * 5000, expected=True)
    assert len(error.message) < 600
    assert "abc" not in error.message
    assert "u:p" not in error.message
