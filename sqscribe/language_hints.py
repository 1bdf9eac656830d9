# SPDX-License-Identifier: Apache-2.0
"""What people write for a language, and Whisper's code for it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from sqscribe.languages import LANGUAGES

__all__ = ["language_code", "language_hint"]

_DETECT = frozenset(
    {"", "*", "any", "auto", "autodetect", "automatic", "default", "detect", "none", "null", "und", "unknown"}
)
_SEVERAL = frozenset({"all", "mixed", "mul", "multiple", "multilingual"})
#: Codes that are two languages' or countries'; no guess would be safe.
_UNCLEAR = MappingProxyType({"ge": "'de' (German) or 'ka' (Georgian)", "in": "'hi' (Hindi) or 'id' (Indonesian)"})

#: Withdrawn codes, and countries' in place of languages'. None of them is another language of Whisper's.
_TWO_LETTERS = (
    "iw he,ji yi,jv jw,mo ro,sh sr,nb no,jp ja,cn zh,tw zh,hk yue,cz cs,dk da,gr el,kr ko,se sv,ua uk,vn vi,"
    "ir fa,rs sr,by be,ee et,al sq,us en,gb en,au en,at de,mx es,kz kk,il he,eg ar,ph tl"
)
#: ISO 639-2 and 639-3, terminological and bibliographic.
_THREE_LETTERS = (
    "eng en,zho zh,chi zh,cmn zh,deu de,ger de,spa es,rus ru,kor ko,fra fr,fre fr,jpn ja,por pt,tur tr,pol pl,cat ca,"
    "nld nl,dut nl,ara ar,arb ar,swe sv,ita it,ind id,hin hi,fin fi,vie vi,heb he,ukr uk,ell el,gre el,msa ms,may ms,"
    "zsm ms,ces cs,cze cs,ron ro,rum ro,dan da,hun hu,tam ta,nor no,nob no,tha th,urd ur,hrv hr,bul bg,lit lt,lat la,"
    "mri mi,mao mi,mal ml,cym cy,wel cy,slk sk,slo sk,tel te,fas fa,per fa,pes fa,lav lv,ben bn,srp sr,aze az,slv sl,"
    "kan kn,est et,mkd mk,mac mk,bre br,eus eu,baq eu,isl is,ice is,hye hy,arm hy,nep ne,mon mn,bos bs,kaz kk,sqi sq,"
    "alb sq,swa sw,swh sw,glg gl,mar mr,pan pa,sin si,khm km,sna sn,yor yo,som so,afr af,oci oc,kat ka,geo ka,bel be,"
    "tgk tg,snd sd,guj gu,amh am,yid yi,lao lo,uzb uz,fao fo,hat ht,pus ps,tuk tk,nno nn,mlt mt,san sa,ltz lb,mya my,"
    "bur my,bod bo,tib bo,tgl tl,fil tl,mlg mg,asm as,tat tt,lin ln,hau ha,bak ba,jav jw,sun su"
)
#: Other English names, and what some languages call themselves.
_NAMES = (
    "mandarin zh,putonghua zh,castilian es,flemish nl,valencian ca,farsi fa,moldavian ro,moldovan ro,burmese my,"
    "haitian ht,letzeburgesch lb,pushto ps,panjabi pa,sinhalese si,bokmål no,bokmal no,filipino tl,"
    "deutsch de,español es,espanol es,castellano es,français fr,francais fr,italiano it,português pt,portugues pt,"
    "nederlands nl,svenska sv,norsk no,dansk da,suomi fi,polski pl,čeština cs,cesky cs,magyar hu,română ro,romana ro,"
    "türkçe tr,turkce tr,русский ru,українська uk,ελληνικά el,עברית he,العربية ar,فارسی fa,हिन्दी hi,ไทย th,"
    "tiếng việt vi,中文 zh,汉语 zh,普通话 zh,粤语 yue,粵語 yue,日本語 ja,한국어 ko,"
    "català ca,euskara eu,galego gl,hrvatski hr,"
    "srpski sr,slovenčina sk,slovenščina sl,български bg,íslenska is,kiswahili sw"
)


def _read(*tables: str) -> Mapping[str, str]:
    pairs = (entry.rsplit(" ", 1) for table in tables for entry in table.split(","))
    return MappingProxyType({name: code for name, code in pairs if code in LANGUAGES and name not in LANGUAGES})


_ALIASES = MappingProxyType(
    {**_read(_TWO_LETTERS, _THREE_LETTERS, _NAMES), **{name: code for code, name in LANGUAGES.items()}}
)
#: A misspelt name has to be as near as this; codes are too short to be guessed.
_NEAR = 0.8
_LONGEST = 40


def language_code(name: str) -> str | None:
    """The code that somebody who wrote `name` (English, EN, en-US, eng, iw, Deutsch) most likely means, or None."""
    plain = name.strip().lower()
    if len(plain) > _LONGEST:
        return None
    for guess in (plain, plain.replace("_", "-").split("-", maxsplit=1)[0]):
        if guess in LANGUAGES:
            return guess
        if guess in _ALIASES:
            return _ALIASES[guess]
    first = plain.split("(", maxsplit=1)[0].split(",", maxsplit=1)[0].strip()
    near = get_close_matches(first, _ALIASES, n=1, cutoff=_NEAR) if len(first) > 3 else []
    return _ALIASES.get(first) or (_ALIASES[near[0]] if near else None)


def language_hint(name: str) -> str:
    """What to write in place of what is no code of Whisper's; empty where nobody can tell."""
    plain = name.strip().lower()
    if plain in _DETECT:
        return "leave the field out: the language is detected then"
    if plain in _SEVERAL:
        return "write 'multi' in `language` if it changes within the recording"
    if plain in _UNCLEAR:
        return f"did you mean {_UNCLEAR[plain]}?"
    code = language_code(name)
    return f"did you mean {code!r}?" if code else ""
