# SPDX-License-Identifier: Apache-2.0
"""The sites whose pages are read, by the names of yt-dlp's extractors.

Each extractor is a program of its own that asks a stranger's servers, so only those are let in that bring recordings of
speech from sites that host them: no shops, no sites for adults, no live radio, and none that needs another program.
Collections (channels, playlists, whole shows) are left out: a job is one recording.
"""

from __future__ import annotations

__all__ = ["SITES", "SITES_VERSION"]

#: Counts up with every change of the list.
SITES_VERSION = 1

#: As yt-dlp's `--list-extractors` names them.
SITES = (
    # Video
    *("bilibili", "BiliBiliPlayer", "BitChute", "dailymotion", "facebook", "facebook:reel", "FacebookPluginsVideo"),
    *("FacebookRedirectURL", "Instagram", "lbry", "LinkedIn", "loom", "MedalTV", "niconico", "Odnoklassniki"),
    *("PeerTube", "Reddit", "Rumble", "RumbleEmbed", "rutube", "rutube:embed", "Streamable", "TikTok", "twitch:clips"),
    *("twitch:vod", "twitter", "twitter:broadcast", "twitter:shortener", "twitter:spaces", "VidLii", "vimeo"),
    *(
        "ustream",
        "vimeo:event",
        "vimeo:review",
        "vk",
        "youtube",
        "youtube:clip",
        "YoutubeYtBe",
        "YoutubeLivestreamEmbed",
    ),
    # Podcasts, music and sound
    *("acast", "apple:podcasts", "Art19", "AudioBoom", "audiomack", "Audius", "Bandcamp", "Bandcamp:weekly"),
    *("BilibiliAudio", "Clyp", "Freesound", "GlobalPlayerAudioEpisode", "HearThisAt", "iheartradio", "Jamendo"),
    *("Libsyn", "megaphone.fm", "mixcloud", "nts.live", "patreon", "Podchaser", "podomatic", "simplecast"),
    *("simplecast:episode", "soundcloud", "SoundcloudEmbed", "Spreaker", "Substack", "tunein:podcast:program"),
    # Talks, lessons and meetings
    *(
        "CloudflareStream",
        "DacastVOD",
        "Kaltura",
        "khanacademy",
        "Mediasite",
        "MicrosoftEmbed",
        "MicrosoftLearnEpisode",
    ),
    *("MicrosoftLearnSession", "MicrosoftMedius", "Panopto", "TedEmbed", "TedTalk", "Vidyard", "Wistia", "zoom"),
    *("zoom:clips", "JWPlatform", "brightcove:new", "brightcove:legacy", "SproutVideo", "VideoPress", "vidio"),
    # Archives, and files that were shared
    *("archive.org", "Dropbox", "GoogleDrive", "wikimedia.org"),
    # Parliaments and authorities
    *("Bundestag", "CSpan", "CSpanCongress", "EuroParlWebstream", "Europa", "parliamentlive.tv", "Parlview"),
    *("senate.gov", "senate.gov:isvp"),
    # Broadcasters and the press
    *("abc.net.au", "abc.net.au:iview", "abcnews", "abcnews:video", "AlJazeera", "ARDAudiothek", "ARDMediathek"),
    *("ArteTV", "ArteTVEmbed", "bbc", "bbc.co.uk", "bbc.co.uk:article", "Bloomberg", "CBSNews", "CNN", "dw"),
    *("dw:article", "FranceCulture", "franceinfo", "francetv", "francetv:site", "NBCNews", "Npr", "NRK", "NRKTV"),
    *("NRKRadioPodkast", "NYTimes", "NYTimesArticle", "orf:on", "orf:podcast", "orf:radio", "orf:fm4:story", "pbs"),
    *("radiofrance", "Rai", "RaiPlay", "RaiPlaySound", "RaiNews", "Reuters", "rtve.es:alacarta", "rtve.es:audio"),
    *("SRGSSR", "SRGSSRPlay", "svt:page", "svt:play", "Tagesschau", "YleAreena", "zdf"),
)
