# SPDX-License-Identifier: Apache-2.0
"""From samples to encoder output, kept row by row, and back into the batches that CTranslate2 takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ctranslate2
import numpy as np
import numpy.typing as npt
import torch

from stages.inference.whisper.audio import loudness
from stages.inference.whisper.features import LogMel, frames_of

__all__ = ["Encoded", "Encoder"]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One row behind the encoder.

    Attributes:
        output: The encoder's output, [1500, d_model] on the device.
        loudness: Level of each 10 ms in dB, float32 [frames].
        frames: Mel frames that hold content.
    """

    output: torch.Tensor
    loudness: npt.NDArray[np.float32]
    frames: int

    def alone(self) -> Encoded:
        """The same without holding on to the memory of the batch that it was encoded in."""
        copied = self.output.clone()
        if copied.is_cuda:
            # The torch encoder's stream may write over the batch as soon as nobody holds it.
            torch.cuda.current_stream(copied.device).synchronize()
        return Encoded(copied, self.loudness, self.frames)


class Encoder:
    """Computes features and encoder output without a trip to the host.

    Args:
        model: The loaded `ctranslate2.models.Whisper`.
        device: Torch's name of the model's device.
        torch_encoder: Computes the encoder's output; None: the model does.
    """

    def __init__(
        self,
        model: ctranslate2.models.Whisper,
        device: torch.device,
        torch_encoder: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self._model = model
        self._torch_encoder = torch_encoder
        self._device = device
        self._log_mel = LogMel(model.n_mels, device)

    def encode(self, rows: Sequence[npt.NDArray[np.float32]]) -> list[Encoded]:
        """Encodes samples (float32 in [-1, 1), at most 30 s each) as one batch."""
        output = self._output(self._log_mel(rows))
        return [Encoded(output[index], loudness(row), frames_of(len(row))) for index, row in enumerate(rows)]

    def batch(self, rows: Sequence[Encoded]) -> ctranslate2.StorageView:
        """Encoder output of rows, as one [rows, 1500, d_model] view."""
        return self._storage(torch.stack([row.output for row in rows]))

    def relieve(self) -> None:
        """Gives the device memory back that torch has cached."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _output(self, features: torch.Tensor) -> torch.Tensor:
        if self._torch_encoder is None:
            return self._tensor(self._model.encode(self._storage(features)))
        output = self._torch_encoder(features)
        return output.float() if output.dtype == torch.bfloat16 else output  # see `_tensor`

    def _storage(self, tensor: torch.Tensor) -> ctranslate2.StorageView:
        if self._device.type == "cpu":
            return ctranslate2.StorageView.from_array(tensor.numpy())
        # CTranslate2 reads the tensor on a stream of its own, which knows nothing of torch's.
        torch.cuda.current_stream(self._device).synchronize()
        return ctranslate2.StorageView.from_array(tensor)

    def _tensor(self, view: ctranslate2.StorageView) -> torch.Tensor:
        if view.dtype == ctranslate2.DataType.bfloat16:
            # The array interfaces know no bfloat16; the model casts back what it is given.
            view = view.to(ctranslate2.DataType.float32)
        if self._device.type == "cpu":
            return torch.from_numpy(np.array(view))
        return torch.as_tensor(view, device=self._device)
