# SPDX-License-Identifier: Apache-2.0
"""How media files write the languages that Whisper knows."""

from __future__ import annotations

__all__ = ["tags_of"]

#: ISO 639-2 by Whisper's code: the terminological form, which MP4 has, and the bibliographic one, which Matroska and
#: broadcasts have. Languages that are written with Whisper's own code (`yue`, `haw`) need no entry.
_TABLE = """
    af:afr am:amh ar:ara as:asm az:aze ba:bak be:bel bg:bul bn:ben bo:bod/tib br:bre bs:bos ca:cat cs:ces/cze
    cy:cym/wel da:dan de:deu/ger el:ell/gre en:eng es:spa et:est eu:eus/baq fa:fas/per fi:fin fo:fao fr:fra/fre
    gl:glg gu:guj ha:hau he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye/arm id:ind is:isl/ice it:ita ja:jpn jw:jav
    ka:kat/geo kk:kaz km:khm kn:kan ko:kor la:lat lb:ltz ln:lin lo:lao lt:lit lv:lav mg:mlg mi:mri/mao
    mk:mkd/mac ml:mal mn:mon mr:mar ms:msa/may mt:mlt my:mya/bur ne:nep nl:nld/dut nn:nno no:nor/nob oc:oci
    pa:pan pl:pol ps:pus pt:por ro:ron/rum ru:rus sa:san sd:snd si:sin sk:slk/slo sl:slv sn:sna so:som
    sq:sqi/alb sr:srp su:sun sv:swe sw:swa ta:tam te:tel tg:tgk th:tha tk:tuk tl:tgl/fil tr:tur tt:tat uk:ukr
    ur:urd uz:uzb vi:vie yi:yid yo:yor zh:zho/chi/cmn
"""
_TAGS = dict(entry.split(":") for entry in _TABLE.split())


def tags_of(language: str | None) -> tuple[str, ...]:
    """The tags of a track in a language.

    Args:
        language: Whisper's code; None, or what is none, has no tags.
    """
    if language is None:
        return ()
    return (language, *filter(None, _TAGS.get(language, "").split("/")))
