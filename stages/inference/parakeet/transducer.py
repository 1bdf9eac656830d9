# SPDX-License-Identifier: Apache-2.0
"""Prediction and joint network, and the greedy loop over a batch. Parts are named as transformers names them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.inference.parakeet.encoder import Encoder
from stages.inference.parakeet.shape import ModelShape

__all__ = ["Emitted", "Transducer"]

#: Tokens at one frame, beyond which the decoder goes on by force: a model that stays for ever would never end.
_MAX_AT_A_FRAME = 10


@dataclass(frozen=True, slots=True)
class Emitted:
    """A token of a row.

    Attributes:
        frame: Of the encoder's output at which it begins.
        frames: For how many it lasts; may be 0.
        logprob: Of the token there.
    """

    token: int
    frame: int
    frames: int
    logprob: float


class Prediction(nn.Module):
    """An LSTM over the tokens so far."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.lstm = nn.LSTM(shape.hidden, shape.hidden, shape.prediction_layers, batch_first=True)
        self.decoder_projector = nn.Linear(shape.hidden, shape.hidden)


class Joint(nn.Module):
    """Logits of the tokens, then of the durations."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.head = nn.Linear(shape.hidden, shape.vocabulary + len(shape.durations))


class Transducer(nn.Module):
    """The model: `ParakeetForTDT`.

    Args:
        shape: Of the model.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self._shape = shape
        self.encoder = Encoder(shape)
        self.encoder_projector = nn.Linear(shape.width, shape.hidden)
        self.decoder = Prediction(shape)
        self.joint = Joint(shape)

    @torch.inference_mode()
    def decode(self, mel: Tensor, frames: Tensor) -> list[list[Emitted]]:
        """Encodes a batch and writes the likeliest token at each step of each row.

        Every step looks at one frame of each row that is not at its end: a blank goes on by its duration, at least
        one frame, a token by its own, at times none. The host looks at every step whether all rows have ended.

        Args:
            mel: [rows, frames, n_mels].
            frames: int64 [rows]: how many of them hold content.
        """
        hidden, lengths = self.encoder(mel, frames)
        encoded = self.encoder_projector(hidden)
        rows = torch.arange(len(encoded), device=encoded.device)
        durations = torch.tensor(self._shape.durations, device=encoded.device)
        at, stayed = torch.zeros_like(lengths), torch.zeros_like(lengths)
        predicted, state = self._predict(torch.full_like(lengths, self._shape.blank), None)
        steps: list[Tensor] = []
        while bool((going := at < lengths).any()):
            logits = self.joint.head(torch.relu(encoded[rows, at.clamp(max=encoded.shape[1] - 1)] + predicted)).float()
            logprobs, tokens = logits[:, : self._shape.vocabulary].log_softmax(-1).max(-1)
            by = durations[logits[:, self._shape.vocabulary :].argmax(-1)]
            spoken = going & (tokens != self._shape.blank)
            stayed = torch.where(spoken & (by == 0), stayed + 1, 0)
            forced = (by == 0) & ((tokens == self._shape.blank) | (stayed >= _MAX_AT_A_FRAME))
            stayed = torch.where(forced, 0, stayed)
            steps.append(torch.stack([spoken.double(), tokens.double(), at.double(), by.double(), logprobs.double()]))
            at = torch.where(going, at + torch.where(forced, 1, by), at)
            fresh, (h, c) = self._predict(tokens, state)
            predicted = torch.where(spoken[:, None], fresh, predicted)
            state = torch.where(spoken[:, None], h, state[0]), torch.where(spoken[:, None], c, state[1])
        return _by_row(steps, len(encoded))

    def _predict(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, state = self.decoder.lstm(self.decoder.embedding(tokens)[:, None], state)
        return self.decoder.decoder_projector(output[:, 0]), state


def _by_row(steps: list[Tensor], rows: int) -> list[list[Emitted]]:
    """One copy to the host for all steps."""
    emitted: list[list[Emitted]] = [[] for _ in range(rows)]
    if steps:
        for spoken, tokens, frames, lasts, logprobs in torch.stack(steps).cpu().tolist():
            for row in range(rows):
                if spoken[row]:
                    token = Emitted(int(tokens[row]), int(frames[row]), int(lasts[row]), logprobs[row])
                    emitted[row].append(token)
    return emitted
