# SPDX-License-Identifier: Apache-2.0
"""What came of reading one track of a file, or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqscribe.errors import ErrorCode, JobFailedError
from sqscribe.transcript import JobWarning
from stages.decode.findings import Findings, left_out, warnings
from stages.decode.recorders import Take

__all__ = ["TrackRead", "told"]

#: Errors that a track may end in without the others.
_OF_ONE_TRACK = frozenset({ErrorCode.MEDIA_UNREADABLE, ErrorCode.MEDIA_NO_AUDIO})


@dataclass(frozen=True, slots=True)
class TrackRead:
    """What came of reading a track.

    Attributes:
        takes: Empty where there is an error.
        number: The track's.
        order: As `Report.order`.
    """

    takes: list[Take]
    found: Findings
    number: int
    order: Sequence[int] = ()
    error: JobFailedError | None = None

    @property
    def is_its_own_fault(self) -> bool:
        """Whether its error says nothing of the file's other tracks."""
        return self.error is not None and self.error.code in _OF_ONE_TRACK


def told(reads: Sequence[TrackRead], asked: int | str | None) -> Iterator[JobWarning]:
    """The warnings of all tracks that were read; where there are several, each says of which it is."""
    for read in reads:
        for warning in warnings(read.found, chosen=asked is not None):
            yield replace(warning, message=f"track {read.number}: {warning.message}") if len(reads) > 1 else warning
    report = reads[0].found.report
    if asked == "all" and report and len(reads) < len(report.tracks):
        heard = {read.number for read in reads}
        yield left_out(report, [number for number in range(len(report.tracks)) if number not in heard])
