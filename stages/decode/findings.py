# SPDX-License-Identifier: Apache-2.0
"""What the reader found in a file, as errors and warnings of a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqscribe.errors import ErrorCode, JobFailedError, PermanentError
from sqscribe.transcript import JobWarning
from stages.decode.pcm import PcmWriter, too_long
from stages.decode.recorders import Recorder
from stages.media_kind import describe, explain
from stages.reader.wire import Failure, Form, Report, Track

__all__ = ["Findings", "emptiness", "failure", "left_out", "no_such_track", "warnings"]

#: A file is cut short where this is missing of what its head says: seconds, and part of it.
_MISSING_SECONDS, _MISSING_SHARE = 2.0, 0.02
#: Less of these is not worth a word: seconds of a format, of cancelling channels, of holes.
_FALSE_START, _TURNED_SECONDS, _GAP_SECONDS = 0.2, 1.0, 1.0
#: A packet or two are lost wherever recordings are joined.
_LOST_PACKETS = 3
_NAMED, _TRACKS_NAMED = 5, 16


@dataclass(slots=True)
class Findings:
    """What is known of a track that was read.

    Attributes:
        report: What the reader said; None until it has ended, and where it came to no end.
        forms: How the sound was laid out, stretch by stretch.
        peak: The loudest sample of any channel.
        turned_seconds: For how long channels would have cancelled each other.
        alike: Of channels that are split: those that are left out, each with the one that has the same sound.
    """

    report: Report | None = None
    forms: list[Form] = field(default_factory=list)
    peak: int = 0
    turned_seconds: float = 0.0
    alike: Sequence[tuple[int, int]] = ()


def failure(report: Report, path: Path, most: float) -> JobFailedError | None:
    """The error that a report means for the job; None where there is sound."""
    match report.failure:
        case None:
            pass
        case Failure.NO_AUDIO:
            kind = describe(path)
            said = f"the file is {kind}" if kind else "the file has no audio stream"
            return PermanentError(ErrorCode.MEDIA_NO_AUDIO, said)
        case Failure.TOO_LONG:
            return too_long(most)
        case _:
            return PermanentError(ErrorCode.MEDIA_UNREADABLE, explain(path, report.said))
    if not report.decoded and (report.errors or report.broken):
        return PermanentError(ErrorCode.MEDIA_UNREADABLE, explain(path, report.broken or ""))
    return None


def emptiness(pcm: Recorder | PcmWriter, path: Path) -> JobFailedError | None:
    """The error when no sample of the file at `path` was written; None when some were."""
    if pcm.samples:
        return None
    kind = None if pcm.decoded_seconds else describe(path)
    if kind:
        return PermanentError(ErrorCode.MEDIA_NO_AUDIO, f"the file is {kind}")
    return PermanentError(
        ErrorCode.MEDIA_NO_AUDIO,
        f"there is no audio in the part that is asked for; the file has {pcm.decoded_seconds:.1f} s",
    )


def warnings(found: Findings, *, chosen: bool = False) -> Iterator[JobWarning]:
    """What a reader of the transcript should know about the sound.

    Args:
        found: In a track.
        chosen: Whether the track was asked for, by its number or with all others.
    """
    report = found.report
    if report is None:
        return
    if len(report.tracks) > 1 and report.track is not None and not chosen:
        yield JobWarning("tracks_ignored", _tracks(report.tracks, report.track))
    forms = _changes(found.forms)
    if len(forms) > 1:
        more = f" and {len(forms) - _NAMED} more" if len(forms) > _NAMED else ""
        places = "; ".join(f"from {form.at:.1f} s {form.rate} Hz {form.layout}" for form in forms[:_NAMED])
        yield JobWarning("format_changed", f"the format changes within the file: {places}{more}")
    cut = _cut(report)
    if cut:
        yield JobWarning("truncated", cut)
    if report.errors >= _LOST_PACKETS or report.broken or report.leaps:
        yield JobWarning("damaged", _damage(report))
    if report.gap_seconds >= _GAP_SECONDS:
        yield JobWarning(
            "gaps", f"the sound has {report.gaps} holes of {report.gap_seconds:.1f} s in all, which are kept as silence"
        )
    if found.turned_seconds >= _TURNED_SECONDS:
        yield JobWarning(
            "channels_cancelled",
            f"channels in opposite phase would cancel each other for {found.turned_seconds:.1f} s; "
            "they were mixed with one of them turned round",
        )
    if found.alike:
        pairs = ", ".join(f"channel {other} has that of channel {kept}" for other, kept in found.alike)
        yield JobWarning("channels_alike", f"the same sound was transcribed once: {pairs}")


def _cut(report: Report) -> str:
    """Why a file seems to be cut short; empty if it does not."""
    end = max(report.seen, report.decoded)
    if report.declared and not report.stopped and not report.leaps:
        missing = report.declared - end
        if missing > max(_MISSING_SECONDS, _MISSING_SHARE * report.declared):
            return f"the file says that it lasts {report.declared:.1f} s, and ends at {end:.1f} s"
    if report.unended:
        return f"the file ends at {end:.1f} s without the mark that closes a recording; more may have been lost"
    return ""


def _changes(forms: Sequence[Form]) -> list[Form]:
    """The stretches of sound whose rate or channels differ from those before, false starts left out."""
    changes: list[Form] = []
    for form, behind in zip(forms, [*forms[1:], None], strict=True):
        if behind and behind.at - form.at < _FALSE_START:
            continue
        if not changes or (form.rate, form.layout) != (changes[-1].rate, changes[-1].layout):
            changes.append(form)
    return changes


def _tracks(tracks: Sequence[Track], used: int) -> str:
    others = [number for number in range(len(tracks)) if number != used]
    return (
        f"of the file's {len(tracks)} audio tracks, track {_name(tracks, used)} was transcribed; "
        f"not used: {_listed(tracks, others)}"
    )


def _name(tracks: Sequence[Track], number: int) -> str:
    """A track for people: its number from 0, as ffmpeg counts, and what is known of it."""
    said = [part for part in (tracks[number].language, tracks[number].codec or "unknown codec") if part]
    return f"{number} ({', '.join(said)})"


def _listed(tracks: Sequence[Track], numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _TRACKS_NAMED} more" if len(numbers) > _TRACKS_NAMED else ""
    return ", ".join(_name(tracks, number) for number in numbers[:_TRACKS_NAMED]) + more


def no_such_track(report: Report, wanted: int) -> JobFailedError:
    """The error for a track that a file does not have."""
    has = _listed(report.tracks, range(len(report.tracks)))
    return PermanentError(ErrorCode.MEDIA_NO_AUDIO, f"track: the file has no audio track {wanted}; it has {has}")


def left_out(report: Report, numbers: Sequence[int]) -> JobWarning:
    """The warning for tracks that could not be transcribed with the others."""
    return JobWarning("tracks_ignored", f"audio tracks that cannot be decoded: {_listed(report.tracks, numbers)}")


def _damage(report: Report) -> str:
    parts = []
    if report.errors:
        parts.append(f"{report.errors} packets could not be decoded")
    if report.broken:
        parts.append(f"the file cannot be read to its end ({report.broken})")
    if report.leaps:
        parts.append(f"{report.leaps} jumps of time that nothing else bears out were not followed")
    return "; ".join(parts)
