# SPDX-License-Identifier: Apache-2.0
"""Tensors of a `model.safetensors`: eight bytes with the header's length, a JSON header, and the numbers.

The layout is that of https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch

from sqscribe.errors import UnfitNodeError

__all__ = ["read_weights", "write_weights"]

_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
_NAMES = {kind: name for name, kind in _TYPES.items()}
#: More than this is no header.
_MAX_HEADER = 100_000_000


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """All tensors by name, on the CPU, in the type that the file has.

    Raises:
        UnfitNodeError: The file cannot be read, or is no such file.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _MAX_HEADER)))
            content = bytearray(file.read())
        tensors = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                flat = torch.frombuffer(memoryview(content)[begin:end], dtype=_TYPES[entry["dtype"]])
                tensors[name] = flat.reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, struct.error) as error:
        raise UnfitNodeError(f"weights {path} cannot be read ({type(error).__name__}: {error}).") from error
    return tensors


def write_weights(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Writes tensors as such a file."""
    header, content = {}, bytearray()
    for name, tensor in tensors.items():
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        offsets = [len(content), len(content) + len(raw)]
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        content += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of eight
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
