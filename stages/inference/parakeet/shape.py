# SPDX-License-Identifier: Apache-2.0
"""The shape of a model, as the `config.json` of its folder has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqscribe.errors import UnfitNodeError

__all__ = ["FRAME_SAMPLES", "ModelShape", "read_shape"]

#: Samples of 16 kHz from one mel frame to the next.
FRAME_SAMPLES = 160


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What transformers' `ParakeetTDTConfig` says of a model, as far as decoding needs it.

    Attributes:
        width: Of the encoder.
        layers: Of the encoder.
        heads: Of its attention.
        feed_forward: Width of its feed-forward parts.
        kernel: Of its convolutions, in frames of its output.
        channels: Of the convolutions that make one frame of output from `subsampling` mel frames.
        subsampling: A power of two.
        n_mels: Mel bands of its input.
        scaled: Whether what comes out of those convolutions is multiplied by the root of `width`.
        attention_bias: Whether attention and feed-forward parts have biases.
        convolution_bias: Whether convolutions of the layers have.
        hidden: Width of the prediction network and of the joint network.
        prediction_layers: LSTM layers of the prediction network.
        vocabulary: Tokens, the blank included.
        blank: Its token id.
        durations: By how many frames of output the decoder may go on, in the order of its logits.
    """

    width: int
    layers: int
    heads: int
    feed_forward: int
    kernel: int
    channels: int
    subsampling: int
    n_mels: int
    scaled: bool
    attention_bias: bool
    convolution_bias: bool
    hidden: int
    prediction_layers: int
    vocabulary: int
    blank: int
    durations: tuple[int, ...]

    @property
    def frame_seconds(self) -> float:
        """Of a frame of the encoder's output: 0.08 with eight mel frames."""
        return self.subsampling * FRAME_SAMPLES / 16_000


def read_shape(folder: Path) -> ModelShape:
    """Reads `config.json`.

    Raises:
        UnfitNodeError: The folder is not a Parakeet-TDT model in transformers' form.
    """
    try:
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return _shape(config, config["encoder_config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnfitNodeError(
            f"{folder} is not a Parakeet-TDT model in transformers' form ({type(error).__name__}: {error}); it needs "
            "config.json, model.safetensors and tokenizer.json as nvidia/parakeet-tdt-0.6b-v3 has them."
        ) from error


def _shape(config: Mapping[str, Any], encoder: Mapping[str, Any]) -> ModelShape:
    if config["model_type"] != "parakeet_tdt":
        raise ValueError(f"model_type is {config['model_type']}")
    return ModelShape(
        width=encoder["hidden_size"],
        layers=encoder["num_hidden_layers"],
        heads=encoder["num_attention_heads"],
        feed_forward=encoder["intermediate_size"],
        kernel=encoder["conv_kernel_size"],
        channels=encoder["subsampling_conv_channels"],
        subsampling=encoder["subsampling_factor"],
        n_mels=encoder["num_mel_bins"],
        # What follows has the defaults of transformers.
        scaled=encoder.get("scale_input", True),
        attention_bias=encoder.get("attention_bias", True),
        convolution_bias=encoder.get("convolution_bias", True),
        hidden=config.get("decoder_hidden_size", 640),
        prediction_layers=config.get("num_decoder_layers", 2),
        vocabulary=config.get("vocab_size", 8193),
        blank=config.get("blank_token_id", 8192),
        durations=tuple(config.get("durations", (0, 1, 2, 3, 4))),
    )
