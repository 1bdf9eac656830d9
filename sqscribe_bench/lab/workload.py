# SPDX-License-Identifier: Apache-2.0
"""What the contenders have to transcribe: names and lengths of recordings, settled by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sqscribe.errors import SettingsError

__all__ = ["SEED", "WARM_UP", "WORKLOADS", "Recording", "Workload", "workload"]

#: Of the recordings that ship in nobody's package: the same on every machine.
SEED = 20_250_601


@dataclass(frozen=True, slots=True)
class Recording:
    """One to be made.

    Attributes:
        name: Unique; what is said in it depends on it and the seed alone.
        seconds: Its exact length.
    """

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Workload:
    """Recordings, in the order in which they are sent."""

    name: str
    recordings: tuple[Recording, ...]

    @property
    def seconds(self) -> float:
        """Audio in all."""
        return sum(recording.seconds for recording in self.recordings)


@dataclass(frozen=True, slots=True)
class _Kind:
    count: int
    shortest: float
    longest: float


_KINDS = {"clips": _Kind(200, 3.0, 15.0), "files": _Kind(40, 120.0, 360.0), "hours": _Kind(3, 3600.0, 3600.0)}
#: Of several kinds, in any order. `short` is what there is time for in a few minutes.
_MIXED = {"mix": tuple(_KINDS), "short": ("clips", "files")}

WORKLOADS = (*_KINDS, *_MIXED)

#: What every contender transcribes before the clock starts.
WARM_UP = Recording("warm-up", 8.0)


def workload(name: str, scale: float = 1.0, seed: int = SEED) -> Workload:
    """A workload, or the share `scale` of its recordings (one at least of each kind).

    A smaller share is a part of a larger one, so that recordings once made serve both.

    Raises:
        SettingsError: There is no such workload, or no such share.
    """
    if name not in WORKLOADS:
        raise SettingsError(f"workload {name!r} is unknown; there are {', '.join(WORKLOADS)}")
    if not 0 < scale <= 1:
        raise SettingsError(f"scale {scale:g} is no share: above 0, at most 1")
    kinds = _MIXED.get(name, (name,))
    recordings = [recording for kind in kinds for recording in _recordings(kind, _KINDS[kind], scale, seed)]
    random.Random(f"{seed}/{name}/order").shuffle(recordings)
    return Workload(name, tuple(recordings))


def _recordings(kind: str, shape: _Kind, scale: float, seed: int) -> list[Recording]:
    rng = random.Random(f"{seed}/{kind}/lengths")
    lengths = [round(rng.uniform(shape.shortest, shape.longest), 2) for _ in range(shape.count)]
    return [
        Recording(f"{kind}-{number:03}", seconds)
        for number, seconds in enumerate(lengths[: max(1, round(scale * shape.count))])
    ]
