# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: finished windows of a long job in the store, from which any worker can go on.

Below a job's own prefix are

- `checkpoint/<digest>/manifest.json`: the job's windows and its language, put if absent. The digest is that of all
  that shapes a window's text: the source's bytes, the model, the options, the cutter.
- `checkpoint/<digest>/NNNN-<attempt>.json`: increments of finished windows, numbered within their attempt and never
  rewritten. Each names the cut that it belongs to, so that text of other windows, or in another language, is never
  mixed in, not even on a store where the last writer wins.
- `checkpoint/generation-<line>-<number>.json`: marks that a copy of the message is under way; see
  `worker.receive.lineage`.

An attempt's name begins with its message's line and generation, so a list of names tells whether a generation advanced.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import structlog
from pydantic import TypeAdapter

from sqscribe.errors import NodeFaultError, PermanentError, SettingsFaultError
from sqscribe.job import Job
from stages.inference.protocol import EngineInfo
from stages.ports import Store
from stages.values import Audio, Voice, Window, WindowResult
from worker.receive.lineage import Lineage

__all__ = ["CheckpointListing", "Checkpoints", "Increment", "Manifest", "attempt_name"]

log = structlog.get_logger()
T = TypeVar("T")

FOLDER = "checkpoint/"
MANIFEST = "manifest.json"
JSON_TYPE = "application/json"
#: Changes with the format of what is written here; nothing is read across versions.
VERSION = 1
#: Hex digits of a checkpoint's digest.
DIGEST_DIGITS = 32

_INCREMENT = re.compile(r"/\d{4,}-(?P<line>[0-9a-f]{12})-(?P<generation>\d{2,4})-[0-9a-f]{8}\.json$")
_MARK = re.compile(r"/generation-(?P<line>[0-9a-f]{12})-(?P<generation>\d{2,4})\.json$")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint is about.

    Attributes:
        windows: All of the job's, in order.
        speech: As `Windows.speech`.
        language: The one that was detected; None where the message named one, or `multi`.
        language_probability: Of the detected one.
    """

    windows: tuple[Window, ...]
    speech: float
    language: str | None = None
    language_probability: float | None = None

    @property
    def cut(self) -> str:
        """A digest of what results must have in common to be put into one transcript."""
        shape = {"windows": [asdict(window) for window in self.windows], "language": self.language}
        return _digest(shape)

    def check(self, voices: Sequence[Voice]) -> None:
        """Refuses windows that cannot be of a recording of these voices.

        Raises:
            ValueError: They are not.
        """
        for place, window in enumerate(self.windows):
            filled = 0
            first = window.pieces[0].file_start if window.pieces else -1
            begin, end = next(
                ((voice.file_start, voice.file_end) for voice in voices if voice.file_start <= first < voice.file_end),
                (0, 0),
            )
            for piece in window.pieces:
                inside = piece.file_start >= begin and 0 < piece.length <= end - piece.file_start
                if piece.window_start != filled or not inside:
                    raise ValueError(f"window {place} has a piece outside of the recording, or a gap")
                filled += piece.length
            if window.index != place or not filled:
                raise ValueError(f"window {place} is out of order, or empty")


@dataclass(frozen=True, slots=True)
class Increment:
    """Finished windows of one save; `cut` is that of the manifest that they belong to."""

    cut: str
    results: tuple[WindowResult, ...]


_manifests: TypeAdapter[Manifest] = TypeAdapter(Manifest)
_increments: TypeAdapter[Increment] = TypeAdapter(Increment)


@dataclass(frozen=True, slots=True)
class CheckpointListing:
    """What the store holds below a job's `checkpoint/`, as far as the names tell."""

    addresses: tuple[str, ...] = ()

    def increments(self, folder: str) -> list[str]:
        """Addresses of the increments of one checkpoint."""
        return [url for url in self.addresses if url.startswith(folder) and _INCREMENT.search(url)]

    def exists(self, folder: str) -> bool:
        """Whether there is a checkpoint to go on from."""
        return f"{folder}{MANIFEST}" in self.addresses

    def advanced(self, lineage: Lineage) -> bool:
        """Whether this very generation has saved finished windows."""
        return lineage.generation in self._generations(lineage, _INCREMENT)

    def newest(self, lineage: Lineage) -> int:
        """The latest generation of the line that is known of; -1 if none is."""
        return max((*self._generations(lineage, _INCREMENT), *self._generations(lineage, _MARK)), default=-1)

    def _generations(self, lineage: Lineage, names: re.Pattern[str]) -> set[int]:
        matches = (names.search(url) for url in self.addresses)
        return {int(match["generation"]) for match in matches if match and match["line"] == lineage.label}


class Checkpoints:
    """Reads and writes checkpoints. Holds no state; thread-safe.

    Every method that names no other error raises what the store raises: `NodeFaultError`, and `PermanentError` where
    access is refused.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @staticmethod
    def folder(job: Job, audio: Audio, cutter: str, info: EngineInfo) -> str:
        """Address, with a slash at its end, of the checkpoint of this job on this audio by this model."""
        shape = {
            "version": VERSION,
            "source": audio.source_sha256,
            # Another decoder may make it a little longer or shorter: windows would lie beside the words then.
            "samples": audio.samples,
            **({"voices": [asdict(voice) for voice in audio.apart]} if audio.apart else {}),
            "cutter": cutter,
            "model": [info.name, info.revision, info.compute_type, *info.variant],
            "language": job.language,
            "task": job.task,
            "initial_prompt": job.initial_prompt,
            "hotwords": job.hotwords,
            "beam_size": job.beam_size,
            "vad": job.vad,
            **({} if job.track is None else {"track": job.track}),
            "channels": job.channels,
            "start": float(job.start),
            "end": None if job.end is None else float(job.end),
            **job.tuning.fields(),
        }
        return job.url(f"{FOLDER}{_digest(shape)[:DIGEST_DIGITS]}/")

    # -- reading ---------------------------------------------------------------------------------------------------

    def listing(self, job: Job) -> CheckpointListing:
        """Lists what the store holds; nothing where listing is refused.

        Raises:
            NodeFaultError: The store cannot be reached.
        """
        try:
            return CheckpointListing(tuple(self._store.keys(job.url(FOLDER))))
        except (PermanentError, SettingsFaultError) as error:
            log.warning("checkpoint_unreadable", error=str(error))
            return CheckpointListing()

    def manifest(self, folder: str, audio: Audio) -> Manifest | None:
        """The manifest in the store; None where there is none that can be used.

        Raises:
            NodeFaultError: The store cannot be reached.
        """
        return self._read(f"{folder}{MANIFEST}", lambda body: _load_manifest(body, audio))

    def results(self, listing: CheckpointListing, folder: str, manifest: Manifest) -> dict[int, WindowResult]:
        """All finished windows of a checkpoint, by index; an increment that cannot be used is passed over.

        Raises:
            NodeFaultError: The store cannot be reached.
        """
        cut, count = manifest.cut, len(manifest.windows)
        found: dict[int, WindowResult] = {}
        for url in listing.increments(folder):
            increment = self._read(url, lambda body: _load_increment(body, cut))
            for result in increment.results if increment else ():
                if 0 <= result.index < count:
                    found.setdefault(result.index, result)
        return found

    def _read(self, url: str, load: Callable[[bytes], T]) -> T | None:
        try:
            stored = self._store.get(url)
            return None if stored is None else load(stored.body)
        except (PermanentError, ValueError, RecursionError) as error:
            # It would have saved decoding some windows again, and is not worth more than that.
            log.warning("checkpoint_unreadable", url=url, error=str(error)[:200])
            return None

    # -- writing ---------------------------------------------------------------------------------------------------

    def claim(self, folder: str, ours: Manifest, audio: Audio) -> Manifest:
        """Puts the manifest unless there is one that can be used.

        Returns:
            The one in the store.
        """
        url, body = f"{folder}{MANIFEST}", _dump(ours)
        if self._store.put_if_absent(url, body, JSON_TYPE, temporary=True):
            return ours
        stored = self._store.get(url)
        if stored is None:
            raise NodeFaultError(f"{url} was removed while its job was saved")
        try:
            return _load_manifest(stored.body, audio)
        except (ValueError, RecursionError) as error:
            log.warning("checkpoint_unreadable", url=url, error=str(error)[:200])
        if self._store.replace(url, body, JSON_TYPE, stored.etag, temporary=True):
            return ours
        raise NodeFaultError(f"{url} changed while it was replaced")

    def add(self, folder: str, number: int, attempt: str, increment: Increment) -> None:
        """Writes an increment; repeating it writes the same again."""
        self._store.put(f"{folder}{number:04d}-{attempt}.json", _dump(increment), JSON_TYPE, temporary=True)

    def mark(self, job: Job, lineage: Lineage) -> None:
        """Notes that this generation's message is on its way: older ones of its line need no work any more."""
        url = job.url(f"{FOLDER}generation-{lineage.label}-{lineage.generation:02d}.json")
        self._store.put(url, json.dumps(asdict(lineage)).encode(), JSON_TYPE, temporary=True)

    def remove(self, job: Job, called_off: Callable[[], bool]) -> None:
        """Removes all of a job's checkpoints, once it has its result. What cannot be removed is left.

        Args:
            job: The job.
            called_off: Whether to stop; asked before each object.
        """
        try:
            for url in self._store.keys(job.url(FOLDER)):
                if called_off():
                    return
                self._store.delete(url)
        except (NodeFaultError, PermanentError) as error:
            log.warning("checkpoint_left", error=str(error))


def attempt_name(lineage: Lineage) -> str:
    """A fresh name for one attempt at a job."""
    return f"{lineage.label}-{lineage.generation:02d}-{secrets.token_hex(4)}"


def _digest(shape: Mapping[str, object]) -> str:
    text = json.dumps(shape, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _dump(value: Manifest | Increment) -> bytes:
    return json.dumps(asdict(value), separators=(",", ":")).encode()


def _load_manifest(body: bytes, audio: Audio) -> Manifest:
    manifest = _manifests.validate_python(json.loads(body))
    manifest.check(audio.voices)
    return manifest


def _load_increment(body: bytes, cut: str) -> Increment:
    increment = _increments.validate_python(json.loads(body))
    if increment.cut != cut:
        raise ValueError("it belongs to another cut")
    return increment
