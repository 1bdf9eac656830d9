# SPDX-License-Identifier: Apache-2.0
"""A Parakeet-TDT model with random weights, made on the spot: its text means nothing."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
import torch

from stages.inference.parakeet.shape import read_shape
from stages.inference.parakeet.transducer import Transducer
from stages.inference.parakeet.weights import write_weights
from stages.inference.protocol import RANDOM_MARK

__all__ = ["make_random_model"]

_SEED = 7
_LOUD, _LOUDER = ("encoder.subsampling.", "encoder_projector.", "joint.head."), 3.0


def make_random_model(
    folder: Path,
    *,
    layers: int = 2,
    width: int = 32,
    heads: int = 2,
    hidden: int = 24,
    pieces: int = 30,
    n_mels: int = 80,
) -> Path:
    """Writes a model folder as transformers has it. The same arguments give the same model.

    Args:
        folder: Made if need be.
        layers: Of the encoder.
        width: Of the encoder.
        heads: Of its attention; must divide `width`.
        hidden: Width of the prediction and the joint network.
        pieces: Tokens without the blank; every second one begins a word.
        n_mels: Mel bands of its input.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
        "conv_kernel_size": 9,
        "subsampling_conv_channels": 8,
        "subsampling_factor": 8,
        "num_mel_bins": n_mels,
        "scale_input": False,
        "attention_bias": False,
        "convolution_bias": False,
    }
    config = {
        "model_type": "parakeet_tdt",
        "encoder_config": encoder,
        "decoder_hidden_size": hidden,
        "num_decoder_layers": 2,
        "vocab_size": pieces + 1,
        "blank_token_id": pieces,
        "durations": [0, 1, 2, 3, 4],
    }
    (folder / "config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        weights = Transducer(read_shape(folder)).state_dict()
    for name, values in weights.items():
        # Without biases, and with louder convolutions, it is the audio that makes one frame differ from another.
        if name.endswith("bias") and "norm" not in name:
            values.zero_()
        elif name.startswith(_LOUD):
            values.mul_(_LOUDER)
    write_weights(folder / "model.safetensors", weights)
    vocabulary = {("\u2581" if index % 2 else "") + f"p{index}": index for index in range(pieces)}
    model = tokenizers.models.WordLevel(vocabulary, "p0")
    tokenizers.Tokenizer(model).save(str(folder / "tokenizer.json"))
    (folder / RANDOM_MARK).touch()
    return folder
