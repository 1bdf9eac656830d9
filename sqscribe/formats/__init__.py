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


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """How a format is stored.

    Attributes:
        name: Of the object below `<output>/<job_id>/`.
        uses_words: Whether it shows word times when the job asks for them.
    """

    name: str
    content_type: str
    uses_words: bool = False

    @property
    def extension(self) -> str:
        """What follows `transcript`, the dot included."""
        return self.name.removeprefix("transcript")


#: Every format that can be asked for.
ARTIFACTS: Mapping[str, ArtifactKind] = MappingProxyType(
    {
        MASTER: ArtifactKind("transcript.json", "application/json"),
        "verbose_json": ArtifactKind("transcript.verbose.json", "application/json", uses_words=True),
        "srt": ArtifactKind("transcript.srt", "application/x-subrip; charset=utf-8"),
        "vtt": ArtifactKind("transcript.vtt", "text/vtt; charset=utf-8", uses_words=True),
        "tsv": ArtifactKind("transcript.tsv", "text/tab-separated-values; charset=utf-8"),
        "txt": ArtifactKind("transcript.txt", "text/plain; charset=utf-8"),
    }
)

_RENDERERS: Mapping[str, Callable[[Transcript, RenderOptions], bytes]] = {
    MASTER: master.render,
    "verbose_json": verbose_json.render,
    "srt": srt.render,
    "vtt": vtt.render,
    "tsv": tsv.render,
    "txt": txt.render,
}


def render(format: str, transcript: Transcript, options: RenderOptions) -> bytes:  # noqa: A002 - the contract's word
    """The transcript in one of `ARTIFACTS`; the same transcript and options always give the same bytes.

    Raises:
        KeyError: There is no such format.
    """
    return _RENDERERS[format](transcript, options)
