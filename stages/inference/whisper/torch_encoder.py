# SPDX-License-Identifier: Apache-2.0
"""Whisper's encoder computed by torch on the model's device, from the same `model.bin`.

Attention is torch's fused one, which keeps no matrix of scores: for 30 s CTranslate2 keeps 1500 x 1500 of them for each
head and row. Whether that makes it faster on a GPU is not measured yet (docs/performance.md).
"""

from __future__ import annotations

import struct
import threading

import torch

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.layers import Layers, encoder_names
from stages.inference.whisper.shape import ModelShape
from stages.inference.whisper.weights import Weights

__all__ = ["TorchEncoder", "torch_type"]


class TorchEncoder:
    """Encoder output of spectrograms. Any thread may call it; each has a stream of its own on a GPU.

    Args:
        weights: The model's.
        shape: The model's.
        device: Where the weights are kept and computed with.
        dtype: What they are computed in: float32, float16 or bfloat16. Weights that were quantised are read as what
            their numbers stand for.
        partial: Whether the weights may have more layers than the shape, which are left out then.

    Raises:
        UnfitNodeError: The weights are not those of a Whisper encoder as OpenAI's are built, or do not fit.
    """

    def __init__(
        self,
        weights: Weights,
        shape: ModelShape,
        device: torch.device,
        dtype: torch.dtype,
        *,
        partial: bool = False,
    ) -> None:
        self._device = device
        self._dtype = dtype
        self._shape = shape
        self._own = threading.local()
        self._tensors = _read(weights, shape, device, dtype, partial=partial)
        self._layers = Layers(self._tensors.__getitem__)

    @property
    def weight_bytes(self) -> int:
        """Of the device's memory, beside what CTranslate2 has loaded."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    @torch.inference_mode()
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Encoder output, [rows, frames / 2, d_model], of spectrograms [rows, n_mels, frames] on the device.

        It is ready to be read by whoever knows nothing of torch's streams.
        """
        if self._device.type == "cpu":
            return self._encode(features)
        # The default stream waits for CTranslate2's and they for it, so that no two batches would overlap on it.
        stream = self._stream()
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            output = self._encode(features)
        stream.synchronize()
        return output

    def _encode(self, features: torch.Tensor) -> torch.Tensor:
        return self._layers.encode(features.to(self._dtype), self._shape.encoder_layers, self._shape.heads)

    def _stream(self) -> torch.cuda.Stream:
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream: torch.cuda.Stream = self._own.stream
        return stream


def torch_type(compute_type: str) -> torch.dtype:
    """What torch computes in under a compute type as CTranslate2 resolves it; 8-bit weights are not kept as such."""
    if compute_type.endswith("bfloat16"):
        return torch.bfloat16
    return torch.float16 if compute_type.endswith("float16") else torch.float32


def _read(
    weights: Weights, shape: ModelShape, device: torch.device, dtype: torch.dtype, *, partial: bool
) -> dict[str, torch.Tensor]:
    """All weights of the encoder, and a refusal where there are others, or others than the shape says."""
    wanted = encoder_names(shape.encoder_layers)
    expected = {*wanted, *(f"{name}_scale" for name in wanted), "encoder/num_heads"}
    unknown = [name for name in weights.names() if name.startswith("encoder/") and name not in expected]
    if unknown and not partial:
        raise UnfitNodeError(_refusal(f"it has {unknown[0]}"))
    try:
        return {name: torch.from_numpy(weights.values(name)).to(device, dtype) for name in wanted}
    except (OSError, KeyError, ValueError, struct.error) as error:
        raise UnfitNodeError(_refusal(f"{type(error).__name__}: {error}")) from error


def _refusal(why: str) -> str:
    return (
        f"the encoder in model.bin cannot be computed by torch ({why}); set SQSCRIBE_ENCODER to ctranslate2, or leave "
        "it out."
    )
