# SPDX-License-Identifier: Apache-2.0
"""The variables of a `model.bin`, one at a time, without CTranslate2.

The layout is that of CTranslate2's `model_spec.ModelSpec._serialize`.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

__all__ = ["Weights"]

#: Oldest `model.bin` whose variables carry their size in bytes.
_OLDEST_VERSION = 4
#: By CTranslate2's `DataType`. bfloat16, which numpy lacks, is read as the upper half of a float32.
_TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}
_BFLOAT16 = 5

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Variable:
    """Where a variable lies in the file."""

    dimensions: tuple[int, ...]
    kind: int
    offset: int


class Weights:
    """The names, dimensions and values in a `model.bin`; values are read when they are asked for.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no Whisper model that CTranslate2 wrote.
        struct.error: It ends too early.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._variables, self._aliases = _skim(file)

    def names(self) -> tuple[str, ...]:
        """Of all variables, aliases left out."""
        return tuple(self._variables)

    def dimensions(self, name: str) -> tuple[int, ...]:
        """Of a variable.

        Raises:
            KeyError: There is none of that name.
        """
        return self._variable(name).dimensions

    def place(self, name: str) -> slice:
        """The bytes of the file that hold a variable.

        Raises:
            KeyError: There is none of that name.
        """
        variable = self._variable(name)
        size = math.prod(variable.dimensions) * np.dtype(_TYPES[variable.kind]).itemsize
        return slice(variable.offset, variable.offset + size)

    def number(self, name: str) -> int:
        """The value of a variable that holds one.

        Raises:
            KeyError: There is none of that name.
        """
        return int(self._raw(name).item())

    def values(self, name: str) -> Values:
        """A variable in single precision; of one that was quantised, what its numbers stand for.

        Raises:
            KeyError: There is none of that name.
        """
        values = self._raw(name).astype(np.float32)
        scale = f"{self._aliases.get(name, name)}_scale"
        if scale in self._variables:
            scales = self._raw(scale).astype(np.float32)
            values /= scales.reshape(-1, *(1,) * (values.ndim - 1)) if scales.size > 1 else scales
        return values

    def _variable(self, name: str) -> _Variable:
        return self._variables[self._aliases.get(name, name)]

    def _raw(self, name: str) -> npt.NDArray[np.generic]:
        variable = self._variable(name)
        count = math.prod(variable.dimensions)
        raw = np.fromfile(self._path, _TYPES[variable.kind], count, offset=variable.offset)
        if variable.kind == _BFLOAT16:
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        values: npt.NDArray[np.generic] = raw.reshape(variable.dimensions)
        return values


def _skim(file: BinaryIO) -> tuple[dict[str, _Variable], dict[str, str]]:
    """Where each variable lies, and which names stand for another."""
    (version,) = _unpack(file, "<I")
    if version < _OLDEST_VERSION:
        raise ValueError(f"model.bin has version {version}, older than {_OLDEST_VERSION}")
    if _string(file) != "WhisperSpec":
        raise ValueError("model.bin holds another kind of model")
    _revision, count = _unpack(file, "<II")
    variables: dict[str, _Variable] = {}
    for _ in range(count):
        name = _string(file)
        (rank,) = _unpack(file, "<B")
        dimensions = _unpack(file, f"<{rank}I")
        kind, size = _unpack(file, "<BI")
        variables[name] = _Variable(dimensions, kind, file.tell())
        file.seek(size, os.SEEK_CUR)
    (count,) = _unpack(file, "<I")
    aliases = [(_string(file), _string(file)) for _ in range(count)]
    return variables, dict(aliases)


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<H")
    return file.read(length)[:-1].decode("utf-8")


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
