# SPDX-License-Identifier: Apache-2.0
"""Assemble: what was transcribed of the windows becomes one transcript on the file's own clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from sqscribe.transcript import JobWarning, Segment, Transcript, Word, voice_name
from stages.values import SAMPLE_RATE, Audio, Piece, RawSegment, RawWord, Voice, Window, WindowResult, Windows

__all__ = ["assemble"]

#: A segment is split where at least so many seconds of silence were left out between two of its words.
_SPLIT_SECONDS = 0.5
#: A segment without words does not begin or end in a piece that it only touches for less than this (the silence
#: around speech is at least as long).
_TOUCH_SECONDS = 0.3
#: Two windows place the same word at most so far apart.
_JITTER_SECONDS = 0.5
#: A word so near to an end of its window that is shared may be a part of one.
_EDGE_SECONDS = 0.1
#: How much another text over the same time is worth, when the same text is worth 1.
_OTHER_TEXT = 0.1
#: How much of the shorter one of two equal texts that lie further apart must lie within the longer one.
_SAME_TEXT_SHARE = 0.25
#: How much of the shorter one must lie within the longer one of two other texts: words, or segments without words.
_SAME_SHARE_WORDS, _SAME_SHARE_SEGMENTS = 0.5, 0.9
#: Words of a segment without word times that 1 s of overlap may hold.
_OVERLAP_WORDS = 8
#: Nothing that is said takes less.
_SHORTEST_SECONDS = 0.02
#: Places that one warning names.
_PLACES_NAMED = 10


@dataclass(slots=True)
class _TimedText:
    """The smallest thing that has times: a word, or a segment without words; seconds of the PCM file.

    Attributes:
        segment: Which segment of its window it belongs to.
        piece: Which piece of its window it begins in.
        probability: None for a segment without words.
    """

    segment: int
    piece: int
    text: str
    start: float
    end: float
    probability: float | None

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


@dataclass(frozen=True, slots=True)
class _TranscribedWindow:
    """A window, its result, and what of the result is kept so far.

    Attributes:
        window: Placed as if its voice were a file of its own.
        voice: That it is of.
        texts: In order of time; neighbours take from each other what both have.
    """

    window: Window
    result: WindowResult
    voice: Voice
    texts: list[_TimedText]


def assemble(
    windows: Windows,
    results: Mapping[int, WindowResult],
    language: str | None,
    language_probability: float | None,
    *,
    multi: bool = False,
) -> Transcript:
    """Puts a job's window results together.

    Words lie in the piece that holds their middle, so none spans silence that was left out. What two windows share
    is kept once: the seam lies at a word that both have. Each voice is put together by itself; then their segments are
    merged by time.

    Args:
        windows: All of a recording's windows, or some of them, in order.
        results: By index of the window; one for each of `windows`.
        language: The settled Whisper code; ignored under `multi`.
        language_probability: None when the job named the language; ignored under `multi`.
        multi: Whether each window was decoded in a language of its own. Segments then carry theirs, and the
            transcript's is the one with the most speech, weighted by its probability.

    Returns:
        Times in seconds to the millisecond, from `windows.audio.start` on; segments carry track and channel of their
        voice.

    Raises:
        KeyError: A window has no result.
    """
    transcribed = [done for voice in windows.audio.voices for done in _transcribed(windows, voice, results)]
    segments = [segment for done in transcribed for segment in _segments(done, windows.audio, multi=multi)]
    if windows.audio.apart:
        segments.sort(key=lambda segment: (segment.start, segment.end))
    if multi:
        language, language_probability = _most_spoken(transcribed)
    return Transcript(
        text="".join(segment.text for segment in segments).strip(),
        language=language if segments else None,
        language_probability=language_probability if segments else None,
        duration=round(windows.audio.seconds, 3),
        segments=tuple(replace(segment, id=index) for index, segment in enumerate(segments)),
        warnings=(*windows.audio.warnings, *_warnings(transcribed, segments, windows.audio)),
    )


def _transcribed(windows: Windows, voice: Voice, results: Mapping[int, WindowResult]) -> list[_TranscribedWindow]:
    """The windows of a voice with what is kept of them."""
    transcribed = [_TranscribedWindow(window, results[window.index], voice, []) for window in windows.of(voice)]
    for done in transcribed:
        done.texts.extend(_texts(done.window, done.result.segments))
    for before, after in pairwise(transcribed):
        if after.window.overlap_before and after.window.index == before.window.index + 1:
            _join(before, after)
    texts = [text for done in transcribed for text in done.texts]
    _order(texts)
    _lengthen(texts, voice.samples / SAMPLE_RATE)
    return transcribed


def _texts(window: Window, segments: Iterable[RawSegment]) -> Iterator[_TimedText]:
    """The words of a window, and its segments without words, on the PCM file's clock."""
    for index, segment in enumerate(segments):
        if segment.words:
            for word in segment.words:
                yield _place_word(window, index, word)
        elif segment.text.strip():
            yield _place_segment(window, index, segment)


def _place_word(window: Window, segment: int, word: RawWord) -> _TimedText:
    """Moves a word into the piece in which its middle lies, and cuts off what reaches beyond."""
    piece = _piece_at(window.pieces, (word.start + word.end) / 2)
    start, end = (_file_time(window.pieces[piece], time) for time in (word.start, word.end))
    return _TimedText(segment, piece, word.word, start, end, word.probability)


def _place_segment(window: Window, index: int, segment: RawSegment) -> _TimedText:
    """Gives a segment without words the times of the pieces that it fills, not of those it only touches."""
    first, last = _piece_at(window.pieces, segment.start), _piece_at(window.pieces, segment.end)
    if first < last and _end(window.pieces[first]) - segment.start < _TOUCH_SECONDS:
        first += 1
    if first < last and segment.end - window.pieces[last].window_start / SAMPLE_RATE < _TOUCH_SECONDS:
        last -= 1
    start, end = _file_time(window.pieces[first], segment.start), _file_time(window.pieces[last], segment.end)
    return _TimedText(index, first, segment.text, start, end, None)


def _piece_at(pieces: Sequence[Piece], time: float) -> int:
    """The piece that holds a time of its window, the last one for all later times."""
    for index, piece in enumerate(pieces):
        if time < _end(piece):
            return index
    return len(pieces) - 1


def _end(piece: Piece) -> float:
    return (piece.window_start + piece.length) / SAMPLE_RATE


def _file_time(piece: Piece, time: float) -> float:
    """A time of the window as one of the PCM file, kept within the piece."""
    inside = min(max(time - piece.window_start / SAMPLE_RATE, 0.0), piece.length / SAMPLE_RATE)
    return piece.file_start / SAMPLE_RATE + inside


def _join(before: _TranscribedWindow, after: _TranscribedWindow) -> None:
    """Leaves what two neighbours share to one of them."""
    start = after.window.pieces[0].file_start / SAMPLE_RATE
    end = start + after.window.overlap_before / SAMPLE_RATE
    middle = (start + end) / 2
    pairs = _pairs(
        {i: text for i, text in enumerate(before.texts) if text.end > start - _JITTER_SECONDS},
        {j: text for j, text in enumerate(after.texts) if text.start < end + _JITTER_SECONDS},
    )
    if pairs:
        # A window transcribes best what is far from its own end: the word at the seam is taken from that one.
        i, j = min(pairs, key=lambda pair: abs(_between(before, after, pair) - middle))
        left = _between(before, after, (i, j)) < middle
        del before.texts[i + left :]
        del after.texts[: j + left]
    elif before.texts and after.texts:
        # No word is in both, so what touches an end of one window and is not in the other is a part of a word that the
        # other window has whole.
        last, first = before.texts[-1], after.texts[0]
        if last.probability is not None and last.end > end - _EDGE_SECONDS and first.start < end + _JITTER_SECONDS:
            del before.texts[-1]
        if first.probability is not None and first.start < start + _EDGE_SECONDS and last.end > start - _JITTER_SECONDS:
            del after.texts[0]
    if before.texts and after.texts and before.texts[-1].end > start and after.texts[0].start < end:
        _trim(before.texts, after.texts)


def _between(before: _TranscribedWindow, after: _TranscribedWindow, pair: tuple[int, int]) -> float:
    return (before.texts[pair[0]].middle + after.texts[pair[1]].middle) / 2


def _pairs(before: Mapping[int, _TimedText], after: Mapping[int, _TimedText]) -> list[tuple[int, int]]:
    """What both windows have, in order: the alignment of greatest worth; pairs of equal text where there are any."""
    columns = list(after)
    # worth and pairs of the best alignment of all rows so far with the first so many columns
    row: list[tuple[float, tuple[tuple[int, int, bool], ...]]] = [(0.0, ())] * (len(columns) + 1)
    for i, left in before.items():
        fresh = row[:1]
        for position, j in enumerate(columns):
            best = max(row[position + 1], fresh[position], key=lambda entry: entry[0])
            worth, same = _match(left, after[j])
            if worth and row[position][0] + worth > best[0]:
                best = (row[position][0] + worth, (*row[position][1], (i, j, same)))
            fresh.append(best)
        row = fresh
    found = row[-1][1]
    return [(i, j) for i, j, same in found if same] or [(i, j) for i, j, _ in found]


def _match(left: _TimedText, right: _TimedText) -> tuple[float, bool]:
    """How much it is worth to take the two for the same (0 if they cannot be), and whether their texts agree."""
    words = left.probability is not None
    if words != (right.probability is not None):
        return 0.0, False
    apart = abs(left.middle - right.middle)
    shared = min(left.end, right.end) - max(left.start, right.start)
    # Where words repeat, many pairs a word apart must not outweigh fewer pairs that lie upon each other.
    near = max(1 - apart / _JITTER_SECONDS, 0.05)
    shorter = min(left.end - left.start, right.end - right.start)
    # Of a word that is said twice, the first end and the second start may overlap by what times are inexact.
    if _bare(left.text) == _bare(right.text) and (apart <= _JITTER_SECONDS or shared > _SAME_TEXT_SHARE * shorter):
        return near, True
    share = _SAME_SHARE_WORDS if words else _SAME_SHARE_SEGMENTS
    if shared > 0 and shared >= share * shorter:
        return _OTHER_TEXT * near, False
    return 0.0, False


def _bare(text: str) -> str:
    """Text without case, blanks and punctuation, for comparing; of punctuation alone, that."""
    return "".join(char for char in text.casefold() if char.isalnum()) or text.strip()


def _trim(before: list[_TimedText], after: list[_TimedText]) -> None:
    """Removes the first words of a segment without word times that the end of the one before it has already."""
    if before[-1].probability is not None or after[0].probability is not None:
        return
    left, right = before[-1].text.split(), after[0].text.split()
    for count in range(min(len(left), len(right), _OVERLAP_WORDS), 0, -1):
        if [_bare(word) for word in left[-count:]] == [_bare(word) for word in right[:count]]:
            blank = after[0].text[: len(after[0].text) - len(after[0].text.lstrip())]
            after[0].text = blank + " ".join(right[count:])
            break
    if not after[0].text.strip():
        del after[0]


def _order(texts: Sequence[_TimedText]) -> None:
    """Makes times monotonic: starts never fall, and an end yields to the start that follows."""
    for before, after in pairwise(texts):
        # Of a word at least half is left; the end of a segment without words is the model's guess.
        after.start = max(after.start, before.start if before.probability is None else before.middle)
        before.end = min(before.end, after.start)
        after.end = max(after.end, after.start)


def _lengthen(texts: Sequence[_TimedText], seconds: float) -> None:
    """Gives every text a length, at the cost of its neighbours where they lie side by side, within the recording."""
    limit = seconds
    for text in reversed(texts):
        text.end = min(text.end, limit)
        text.start = limit = min(text.start, text.end - _SHORTEST_SECONDS)
    earliest = 0.0
    for text in texts:
        if text.start >= earliest:
            break
        text.start, text.end = earliest, max(text.end, earliest + _SHORTEST_SECONDS)
        earliest = text.end


def _warnings(
    transcribed: Iterable[_TranscribedWindow], segments: Sequence[Segment], audio: Audio
) -> Iterator[JobWarning]:
    """What the transcript's reader would not see: speech without words, and text that is not to be trusted."""
    missing = [_place(done, hole, audio) for done in transcribed for hole in done.result.missing]
    if missing:
        places = ", ".join(missing[:_PLACES_NAMED])
        more = f" and {len(missing) - _PLACES_NAMED} more" if len(missing) > _PLACES_NAMED else ""
        yield JobWarning("speech_missing", f"speech was found that no words were found for: {places}{more}")
    suspects = [segment for segment in segments if segment.suspect is not None]
    if suspects:
        reasons = ", ".join(sorted({segment.suspect or "" for segment in suspects}))
        seconds = sum(segment.end - segment.start for segment in suspects)
        yield JobWarning(
            "suspect_segments",
            f"{len(suspects)} of {len(segments)} segments ({seconds:.1f} s) are not to be trusted: {reasons}",
        )


def _place(done: _TranscribedWindow, hole: tuple[float, float], audio: Audio) -> str:
    """A stretch of a window for people, on the file's clock."""
    pieces, name = done.window.pieces, voice_name(done.voice.track, done.voice.channel).lower()
    start, end = (_clock(_file_time(pieces[_piece_at(pieces, time)], time), audio) for time in hole)
    return f"{start:.1f}-{end:.1f} s" + (f" ({name})" if name else "")


def _segments(done: _TranscribedWindow, audio: Audio, *, multi: bool) -> Iterator[Segment]:
    """The segments of a window that are left, split where silence was left out between two words."""
    result = done.result
    for index, group in groupby(done.texts, key=lambda text: text.segment):
        for run in _split(list(group), done.window.pieces):
            words = tuple(
                Word(text.text, _clock(text.start, audio), _clock(text.end, audio), text.probability)
                for text in run
                if text.probability is not None
            )
            yield Segment(
                id=0,
                start=_clock(run[0].start, audio),
                end=_clock(run[-1].end, audio),
                text="".join(text.text for text in run),
                avg_logprob=result.avg_logprob,
                compression_ratio=result.compression_ratio,
                no_speech_prob=result.no_speech_prob,
                temperature=result.temperature,
                words=None if result.segments[index].words is None else words,
                language=result.language if multi else None,
                track=done.voice.track,
                channel=done.voice.channel,
                suspect=result.segments[index].suspect,
            )


def _split(run: list[_TimedText], pieces: Sequence[Piece]) -> Iterator[list[_TimedText]]:
    begin = 0
    for place, (before, after) in enumerate(pairwise(run), start=1):
        left_out = sum(
            second.file_start - first.file_start - first.length
            for first, second in pairwise(pieces[before.piece : after.piece + 1])
        )
        if left_out >= _SPLIT_SECONDS * SAMPLE_RATE:
            yield run[begin:place]
            begin = place
    yield run[begin:]


def _clock(time: float, audio: Audio) -> float:
    return round(audio.start + time, 3)


def _most_spoken(transcribed: Iterable[_TranscribedWindow]) -> tuple[str | None, float | None]:
    """The language with the most speech weighted by probability, and its mean probability over that speech."""
    speech: dict[str, float] = defaultdict(float)
    weighted: dict[str, float] = defaultdict(float)
    for done in transcribed:
        if done.texts:
            seconds = (done.window.speech or done.window.samples) / SAMPLE_RATE
            probability = done.result.language_probability
            speech[done.result.language] += seconds
            weighted[done.result.language] += seconds * (1.0 if probability is None else probability)
    if not speech:
        return None, None
    language = max(weighted, key=lambda code: weighted[code])
    return language, weighted[language] / speech[language]
