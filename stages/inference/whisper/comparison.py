# SPDX-License-Identifier: Apache-2.0
"""A loaded model against the reference: whether the device computes what the files say."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ctranslate2
import numpy as np
import numpy.typing as npt
import torch

from stages.inference.engine.comparison import Comparison, Incomparable
from stages.inference.whisper.encoder import Encoder
from stages.inference.whisper.features import LogMel
from stages.inference.whisper.model import LoadedModel, cpu_cores
from stages.inference.whisper.reference import Reference
from stages.inference.whisper.weights import Weights

__all__ = ["agreement", "compare"]

#: Tokens that the decoder writes for the comparison. Each is a full pass with what was written before.
_STEPS = 24

#: Tokens of the engine's text that are looked at: Whisper has no more positions for them.
_MOST_TOKENS = 224

_Numbers = npt.NDArray[np.float32]


def compare(
    model: LoadedModel, samples: npt.NDArray[np.float32], language: str, text: str
) -> Comparison | Incomparable:
    """Computes a window on the model's device and by the reference.

    Takes a second with a small model, and up to a minute with a large one on few cores.

    Args:
        model: The one to look at.
        samples: The window's, in [-1, 1).
        language: Whisper code that the decoder is told.
        text: What the engine wrote for this window.
    """
    start = (*model.vocabulary.start(language, "transcribe"), model.vocabulary.no_timestamps)
    encoder = Encoder(model.whisper, model.device, model.torch_encoder)
    encoded = encoder.encode([samples])
    written, logits = _written(model.whisper, encoder.batch(encoded), start)
    wanted = model.vocabulary.prompt(text, None)[1:][:_MOST_TOKENS]
    try:
        reference = Reference(
            Weights(model.folder / "model.bin"), model.shape.encoder_layers, model.shape.decoder_layers
        )
        with _all_cores():
            features = LogMel(model.shape.n_mels, torch.device("cpu"))([samples])[0]
            output = reference.encode(features)
            expected = reference.logits(output, (*start, *written))[len(start) - 1 :]
            said = reference.logits(output, (*start, *wanted))[len(start) - 1 :]
    except (OSError, KeyError, ValueError, RuntimeError, struct.error) as error:
        return Incomparable(f"model.bin cannot be computed by other means ({type(error).__name__}: {error})")
    pairs = zip(logits, expected.numpy(), strict=False)
    steps = [agreement(_centred(ours), _centred(theirs)) for ours, theirs in pairs]
    return Comparison(
        against="torch on the CPU, in single precision",
        encoder=agreement(encoded[0].output.float().cpu().numpy(), output.numpy()),
        decoder=sum(steps) / len(steps) if steps else 0.0,
        steps=len(steps),
        unlikelier=_likelihood(expected, written) - _likelihood(said, wanted),
    )


def agreement(ours: _Numbers, theirs: _Numbers) -> float:
    """How much of what varies in their numbers, along the first axis, ours have: 1 is all, 0 is nothing."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return 0.0
    varies = np.square(theirs - theirs.mean(axis=0), dtype=np.float64).sum()
    differs = np.square(ours - theirs, dtype=np.float64).sum()
    return max(0.0, 1.0 - float(differs / varies)) if varies > 0 else 0.0


def _written(
    whisper: ctranslate2.models.Whisper, encoded: ctranslate2.StorageView, start: Sequence[int]
) -> tuple[tuple[int, ...], list[_Numbers]]:
    """What the device's decoder writes when it takes the likeliest token each time, and the logits of each step."""
    (result,) = whisper.generate(
        encoded,
        [list(start)],
        beam_size=1,
        max_length=2 * _STEPS,  # it stops at half of it
        suppress_blank=False,
        suppress_tokens=[],
        return_logits_vocab=True,
    )
    on_cpu = ctranslate2.Device.cpu
    logits = [step.to(ctranslate2.DataType.float32).to_device(on_cpu) for step in result.logits[0]]
    return tuple(result.sequences_ids[0]), [np.array(step).reshape(-1) for step in logits]


def _centred(logits: _Numbers) -> _Numbers:
    """A common offset means nothing to a softmax."""
    centred: _Numbers = logits - logits.mean()
    return centred


def _likelihood(logits: torch.Tensor, tokens: Sequence[int]) -> float:
    """Mean log probability of tokens, given the logits before each of them; 0 without tokens."""
    if not tokens:
        return 0.0
    logprobs = logits[: len(tokens)].log_softmax(-1)
    return float(logprobs[torch.arange(len(tokens)), torch.tensor(tokens)].mean())


@contextmanager
def _all_cores() -> Iterator[None]:
    """Torch has one thread where CTranslate2 computes on the CPU as well, which is idle now."""
    before = torch.get_num_threads()
    torch.set_num_threads(cpu_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
