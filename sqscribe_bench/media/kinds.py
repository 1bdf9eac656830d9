# SPDX-License-Identifier: Apache-2.0
"""Rows for what files are in: containers, codecs, rates, forms of samples, channels."""

from __future__ import annotations

import numpy as np

from sqscribe_bench.media.row import Row, Workshop, write_wav
from stages.values import SAMPLE_RATE

__all__ = ["KINDS"]

#: A small picture that moves.
_VIDEO = ("-f", "lavfi", "-i", "testsrc=duration=11:size=64x48:rate=10")
#: Delays of codecs in files that do not say them.
_PRIMED = 0.075
#: Of codecs for telephones, which draw speech anew.
_VOICE = 0.35


def _encoded(name: str, *arguments: str, lag: float = 0.03, likeness: float = 0.6, slack: float = 0.1) -> Row:
    def make(shop: Workshop) -> object:
        return shop.encode(shop.folder / name, *arguments)

    return Row(name, make, lag=lag, likeness=likeness, slack=slack)


def _filmed(name: str, *arguments: str, lag: float = 0.03, slack: float = 0.2) -> Row:
    def make(shop: Workshop) -> object:
        return shop.make(shop.folder / name, "-i", str(shop.wav), *_VIDEO, "-map", "0:a", "-map", "1:v", *arguments)

    return Row(name, make, lag=lag, slack=slack)


_CONTAINERS = (
    _encoded("plain.wav"),
    _encoded("wave64.w64"),
    _encoded("rf64.wav", "-rf64", "always"),
    _encoded("aiff.aiff"),
    _encoded("sun.au"),
    _encoded("core.caf", "-c:a", "pcm_s16be"),
    _encoded("alac.caf", "-c:a", "alac"),
    _encoded("creative.voc"),
    _encoded("sox.sox"),
    _encoded("open.mxf", "-ar", "48000", "-f", "mxf_opatom", slack=0.2),
    _encoded("flac.flac"),
    _encoded("flac.ogg", "-c:a", "flac", "-f", "ogg"),
    _encoded("cbr.mp3", "-b:a", "64k"),
    _encoded("vbr-xing.mp3", "-q:a", "5"),
    _encoded("vbr-no-xing.mp3", "-q:a", "5", "-write_xing", "0", lag=_PRIMED),
    _encoded("untagged.mp3", "-id3v2_version", "0", "-ar", "44100"),
    _encoded("layer2.mp2", "-ar", "48000", lag=_PRIMED),
    _encoded("adts.aac", lag=0.13),
    _encoded("latm.loas", "-f", "latm", lag=0.13, slack=0.2),
    _encoded("phone.m4a"),
    _encoded("faststart.m4a", "-movflags", "+faststart"),
    _encoded(
        "fragmented.mp4", "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "1000000", lag=0.07, slack=0.2
    ),
    _encoded("alac.m4a", "-c:a", "alac"),
    _encoded("flac.mp4", "-c:a", "flac", "-strict", "-2"),
    _encoded("opus.mp4", "-c:a", "libopus", "-strict", "-2"),
    _encoded("pcm.mov", "-c:a", "pcm_s16le"),
    _encoded("phone.3gp", "-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1", likeness=_VOICE),
    _encoded("aac.3gp", "-c:a", "aac"),
    _encoded("voice.amr", "-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1", likeness=_VOICE),
    _encoded("vorbis.ogg", "-c:a", "libvorbis"),
    _encoded("opus.ogg", "-c:a", "libopus"),
    _encoded("opus.opus"),
    _encoded("opus.webm", "-c:a", "libopus"),
    _encoded("opus-live.webm", "-c:a", "libopus", "-f", "webm", "-live", "1"),
    _encoded("aac.mka", "-c:a", "aac"),
    _encoded("pcm.mka", "-c:a", "pcm_s16le"),
    _encoded("ac3.ac3", "-c:a", "ac3", "-ar", "48000"),
    _encoded("eac3.eac3", "-c:a", "eac3", "-ar", "48000"),
    _encoded("dts.dts", "-c:a", "dca", "-strict", "-2", "-ar", "48000", "-ac", "2", "-b:a", "700k", lag=_PRIMED),
    _encoded("truehd.thd", "-c:a", "truehd", "-strict", "-2", "-ar", "48000", "-ac", "2"),
    _encoded("true.tta"),
    _encoded("wavpack.wv"),
    _encoded("media.wma", "-c:a", "wmav2", lag=_PRIMED),
    _encoded("media-1.asf", "-c:a", "wmav1", lag=_PRIMED),
    _encoded("real.rm", "-c:a", "ac3", "-ar", "44100", lag=_PRIMED, slack=0.2),
    _encoded("nut.nut", "-c:a", "libmp3lame", lag=_PRIMED),
    _encoded("g711-a.wav", "-c:a", "pcm_alaw", "-ar", "8000"),
    _encoded("g711-mu.wav", "-c:a", "pcm_mulaw", "-ar", "8000"),
    _encoded("g711.au", "-c:a", "pcm_mulaw", "-ar", "8000"),
    _encoded("adpcm-ms.wav", "-c:a", "adpcm_ms"),
    _encoded("adpcm-ima.wav", "-c:a", "adpcm_ima_wav", slack=0.15),
    _encoded("g726.wav", "-c:a", "g726", "-ar", "8000", "-ac", "1"),
    _encoded("mp3.wav", "-c:a", "libmp3lame", lag=_PRIMED),
    _encoded("speex.ogg", "-c:a", "libspeex", likeness=_VOICE),
    _encoded("gsm.wav", "-c:a", "libgsm_ms", "-ar", "8000", likeness=_VOICE),
)

_FILMS = (
    _filmed("film.mp4", "-c:v", "mpeg4", "-c:a", "aac"),
    _filmed("film.mov", "-c:v", "mpeg4", "-c:a", "pcm_s16be"),
    _filmed("film.mkv", "-c:v", "mpeg4", "-c:a", "libvorbis"),
    _filmed("film-aac.mkv", "-c:v", "mpeg4", "-c:a", "aac"),
    _filmed("film.webm", "-c:v", "libvpx", "-c:a", "libopus"),
    _filmed("film.ogv", "-c:v", "libtheora", "-c:a", "libvorbis"),
    _filmed("film.avi", "-c:v", "mpeg4", "-c:a", "libmp3lame", lag=_PRIMED),
    _filmed("film-pcm.avi", "-c:v", "mpeg4", "-c:a", "pcm_s16le"),
    _filmed("film.wmv", "-c:v", "wmv2", "-c:a", "wmav2", lag=0.1),
    _filmed("film.flv", "-c:v", "flv", "-c:a", "aac", lag=_PRIMED),
    _filmed("film-mp3.flv", "-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100", lag=_PRIMED),
    _filmed("film.ts", "-c:v", "mpeg2video", "-r", "25", "-c:a", "aac", lag=_PRIMED),
    _filmed("film-mp2.ts", "-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2", lag=_PRIMED),
    _filmed("film.m2ts", "-c:v", "mpeg2video", "-r", "25", "-c:a", "ac3", "-ar", "48000", "-mpegts_m2ts_mode", "1",
            lag=_PRIMED),
    _filmed("film.mpg", "-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2", "-ar", "48000", lag=_PRIMED),
    _filmed("film-ac3.vob", "-c:v", "mpeg2video", "-r", "25", "-c:a", "ac3", "-ar", "48000", "-f", "vob", lag=_PRIMED),
)  # fmt: skip

_RATES = tuple(
    _encoded(f"{rate}-hz.wav", "-ar", str(rate))
    for rate in (8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
)

_FORMS = (
    *(
        _encoded(f"{each}.wav", "-c:a", f"pcm_{each}", "-ar", "44100")
        for each in ("u8", "s24le", "s32le", "f32le", "f64le")
    ),
    _encoded("24-bit.flac", "-sample_fmt", "s32", "-ar", "96000"),
    _encoded("s24.aiff", "-c:a", "pcm_s24be"),
)


def _one_of(channels: int, speaking: int, name: str, *arguments: str) -> Row:
    """A recording in which one channel speaks and the others are silent."""

    def make(shop: Workshop) -> object:
        sound = np.zeros((len(shop.sentence), channels), np.int16)
        sound[:, speaking] = shop.sentence
        path = shop.folder / name
        if path.suffix == ".wav":  # ffmpeg would name the channels, which recorders do not
            return write_wav(path, sound)
        return shop.with_sound(path, sound, SAMPLE_RATE, *arguments)

    return Row(name, make)


def _all_of(name: str, layout: str, *arguments: str) -> Row:
    """A recording with the same sound in all channels."""

    def make(shop: Workshop) -> object:
        return shop.encode(shop.folder / name, "-ac", "1", "-af", f"aformat=channel_layouts={layout}", *arguments)

    return Row(name, make)


_CHANNELS = (
    _all_of("stereo.flac", "stereo"),
    _all_of("3.0.flac", "3.0"),
    _all_of("quad.flac", "quad"),
    _all_of("5.1.m4a", "5.1"),
    _all_of("5.1.ac3", "5.1", "-ar", "48000"),
    _all_of("7.1.flac", "7.1"),
    _all_of("5.1.opus", "5.1", "-c:a", "libopus", "-mapping_family", "1"),
    _one_of(2, 0, "left.wav"),
    _one_of(2, 1, "right.mp3"),
    _one_of(3, 2, "third-of-3.wav"),
    _one_of(4, 3, "fourth-of-4.wav"),
    _one_of(6, 3, "fourth-of-6.wav"),
    _one_of(8, 3, "fourth-of-8.wav"),
    _one_of(16, 0, "first-of-16.wav"),
    _one_of(16, 15, "last-of-16.wav"),
    _one_of(16, 9, "tenth-of-16.caf"),
)

#: In the order of the table.
KINDS: tuple[Row, ...] = (*_CONTAINERS, *_FILMS, *_RATES, *_FORMS, *_CHANNELS)
