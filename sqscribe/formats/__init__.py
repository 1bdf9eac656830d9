# SPDX-License-Identifier: Apache-2.0
"""The formats that a transcript is rendered to: each a pure function of the master and the job's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqscribe.formats import master, srt, tsv, txt, verbose_json, vtt
from sqscribe.formats.options import RenderOptions
from sqscribe.transcript import Transcript

__all__ = ["ARTIFACTS", "MASTER", "ArtifactKind", "RenderOptions", "render"]

#: The format that is always written, and that all others are rendered from.
MASTER = "json"


#: Renders a transcript; a pure function.
Renderer = Callable[[Transcript, RenderOptions], bytes]


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """How a format is rendered and stored.

    Attributes:
        name: Of the object below `<output>/<job_id>/`.
        render: Gives its bytes.
        uses_words: Whether it shows word times when the job asks for them.
    """

    name: str
    content_type: str
    render: Renderer
    uses_words: bool = False

    @property
    def extension(self) -> str:
        """What follows `transcript`, the dot included."""
        return self.name.removeprefix("transcript")


# The one list of formats: messages, settings, commands and the publisher know each that has an entry here.
_FORMATS = {
    MASTER: ArtifactKind("transcript.json", "application/json", master.render),
    "verbose_json": ArtifactKind("transcript.verbose.json", "application/json", verbose_json.render, uses_words=True),
    "srt": ArtifactKind("transcript.srt", "application/x-subrip; charset=utf-8", srt.render),
    "vtt": ArtifactKind("transcript.vtt", "text/vtt; charset=utf-8", vtt.render, uses_words=True),
    "tsv": ArtifactKind("transcript.tsv", "text/tab-separated-values; charset=utf-8", tsv.render),
    "txt": ArtifactKind("transcript.txt", "text/plain; charset=utf-8", txt.render),
}

#: Every format that can be asked for.
ARTIFACTS: Mapping[str, ArtifactKind] = MappingProxyType(_FORMATS)


def render(format: str, transcript: Transcript, options: RenderOptions) -> bytes:  # noqa: A002 - the contract's word
    """The transcript in one of `ARTIFACTS`; the same transcript and options always give the same bytes.

    Raises:
        KeyError: There is no such format.
    """
    return ARTIFACTS[format].render(transcript, options)
