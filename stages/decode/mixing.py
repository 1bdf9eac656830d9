# SPDX-License-Identifier: Apache-2.0
"""From several channels to one, so that nothing that is said in one is cancelled by another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.values import SAMPLE_RATE

__all__ = ["Mixer"]

Floats = npt.NDArray[np.float32]

#: How loud a loudspeaker's channel is in the mix, as is usual; the low-frequency effects carry no speech. The others
#: (at the sides, behind, above) have `_SURROUND`, and a channel of which the file says nothing is one like the rest.
_WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "FLC": 0.7071, "FRC": 0.7071, "LFE": 0.0, "LFE2": 0.0}
_SURROUND = 0.5
_UNKNOWN = frozenset({"NONE", "UNSD", "UNK"})

_STEREO = 2
#: Samples that are judged together: 0.128 s.
_BLOCK = 2048
#: Samples over which a channel is turned round, so that it does not click.
_RAMP = 320
#: A mix with less than this share of the energy that its channels would have if they were unlike cancels; of one that
#: is turned round already, this much more.
_CANCELLED, _STILL_CANCELLED = 0.3, 0.6
#: Two of many channels are opposite when they are as alike as this; neither may have less of the energy than that.
_OPPOSITE, _AUDIBLE_SHARE = -0.9, 0.01
#: A channel is turned round when it is this much like the opposite of those before it.
_TURNED = -0.3
#: Mean square of a sample below which there is nothing to judge.
_NOTHING = 4.0


class Mixer:
    """Mixes sound whose layout stays the same. Keeps what it did to the channels from one piece to the next.

    Ordinary recordings are mixed plainly. A block whose channels cancel each other, as those of a recording with one
    channel in opposite phase do, is mixed with channels turned round.

    Args:
        channels: Their names; see `Form.channels`.
    """

    def __init__(self, channels: Sequence[str]) -> None:
        known = not _UNKNOWN.intersection(channels)
        weights = np.array([_WEIGHTS.get(name, _SURROUND) if known else 1.0 for name in channels], np.float32)
        if not weights.any():
            weights[:] = 1.0
        self._weights = weights / weights.sum()
        self._signs = np.ones(len(channels), np.float32)
        self.peak = 0
        self.turned_seconds = 0.0

    def mix(self, samples: bytes) -> bytes:
        """Mixes a piece of interleaved samples.

        Args:
            samples: Signed 16-bit little-endian.
        """
        width = len(self._weights)
        sound = np.frombuffer(samples, "<i2").reshape(-1, width)
        if len(sound) == 0:
            return b""
        flat = sound.reshape(-1)
        self.peak = max(self.peak, int(flat.max()), -int(flat.min()))
        if width == 1:
            return samples
        if width == _STEREO and (self._signs > 0).all():
            plain = _plain_stereo(sound)
            if plain is not None:
                return plain
        weighted = np.ascontiguousarray(sound.T, np.float32) * self._weights[:, None]
        starts = np.arange(0, len(sound), _BLOCK)
        before = self._signs
        for start, signs in zip(starts, self._judge(weighted, starts), strict=True):
            _turn(weighted[:, start : start + _BLOCK], before, signs)
            before = signs
        return bytes(np.rint(weighted.sum(axis=0)).astype("<i2"))

    def _judge(self, weighted: Floats, starts: npt.NDArray[np.intp]) -> list[Floats]:
        """The signs of all channels in each block."""
        energies = np.add.reduceat(weighted * weighted, starts, axis=1).sum(axis=0)
        signs = []
        for start, energy in zip(starts, energies, strict=True):
            block = weighted[:, start : start + _BLOCK]
            if energy >= _NOTHING * block.shape[1]:  # silence says nothing
                self._signs = _signs(np.einsum("it,jt->ij", block, block), self._signs)
                if (self._signs < 0).any():
                    self.turned_seconds += block.shape[1] / SAMPLE_RATE
            signs.append(self._signs)
        return signs


def _plain_stereo(sound: npt.NDArray[np.int16]) -> bytes | None:
    """What nearly every file needs, at half the cost: the mean of two channels; None if they cancel in some block."""
    both = sound.astype(np.float32)
    mixed = both[:, 0] + both[:, 1]
    flat = both.reshape(-1)
    for start in range(0, len(mixed), _BLOCK):
        block, channels = mixed[start : start + _BLOCK], flat[2 * start : 2 * (start + _BLOCK)]
        if np.dot(block, block) < _CANCELLED * np.dot(channels, channels):
            return None
    mixed *= np.float32(0.5)
    return bytes(np.rint(mixed, out=mixed).astype("<i2"))


def _signs(likeness: Floats, before: Floats) -> Floats:
    """Which channels of a block are to be turned round: -1.

    Args:
        likeness: The sum of the products of each two channels, weighted.
        before: The signs of the block before.
    """
    energies = likeness.diagonal()
    bound = _STILL_CANCELLED if (before < 0).any() else _CANCELLED
    if likeness.sum() >= bound * energies.sum() and not _has_opposites(likeness, energies):
        return np.ones_like(before)
    signs = np.ones_like(before)
    order = np.argsort(-energies, kind="stable")
    for place, channel in enumerate(order[1:], start=1):
        louder = order[:place]
        together = float(signs[louder] @ likeness[np.ix_(louder, louder)] @ signs[louder])
        alike = float(likeness[channel, louder] @ signs[louder])
        if alike < _TURNED * float(np.sqrt(max(together, 0.0) * energies[channel])):
            signs[channel] = -1
    agreement = float(signs @ before)
    return -signs if agreement < 0 or (agreement == 0 and signs[0] < 0) else signs


def _has_opposites(likeness: Floats, energies: Floats) -> bool:
    """Whether two of many channels are opposite, though the others keep the mix loud."""
    if len(energies) <= _STEREO:
        return False
    heard = energies > _AUDIBLE_SHARE * energies.sum()
    bounds = _OPPOSITE * np.sqrt(np.outer(energies, energies))
    return bool(((likeness < bounds) & np.outer(heard, heard)).any())


def _turn(block: Floats, before: Floats, signs: Floats) -> None:
    """Gives the channels of a block their signs, by and by where these were others before."""
    if (before == signs).all():
        if (signs < 0).any():
            block *= signs[:, None]
        return
    length = block.shape[1]
    way = np.minimum(np.arange(length, dtype=np.float32) / np.float32(_RAMP), np.float32(1))
    block *= before[:, None] + (signs - before)[:, None] * way
