# SPDX-License-Identifier: Apache-2.0
"""A model of Whisper's architecture with random weights, made on the spot: for tests and benchmarks.

It has languages, tasks and prompts like the released multilingual models, costs what a model of its shape costs, and
its text means nothing. The text depends on the audio, the language, the task and the prompt; it is sure of itself and
ends by itself, so that it neither falls back nor runs into the token cap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from ctranslate2.specs import whisper_spec
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from stages.inference.whisper.steady_text import make_steady

__all__ = ["make_random_model"]

_ENCODER_POSITIONS = 1500
_DECODER_POSITIONS = 448
_TIMESTAMPS = 1501
_TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
#: The position at which the text ends comes round after so many, unless told otherwise.
TEXT_TOKENS = 16
#: Gives weights with which several languages are heard in plain tones.
DEFAULT_SEED = 10
#: Strength of the one channel that makes the text end, on the way in and on the way out.
_END_SIGNAL = 10.0
_END_WEIGHT = 8.0
#: Scale of the rows of the output projection whose tokens are not to win: marks and timestamps.
_FAINT = 0.3
#: Scale of the other rows: the text is sure of itself.
_LOUD = 1.5
#: How loud the audio, and the tokens so far, speak to the decoder beside the position.
_AUDIO = 4.0
_CONTEXT = 2.0

_Random = np.random.Generator


def make_random_model(
    folder: Path,
    *,
    layers: int = 2,
    decoder_layers: int | None = None,
    d_model: int = 64,
    heads: int = 2,
    n_mels: int = 80,
    languages: Sequence[str] = ("en", "de", "fr"),
    words: int = 200,
    text_tokens: int = TEXT_TOKENS,
    steady: bool = False,
    alignment_heads: bool = True,
    quantization: str | None = None,
    seed: int = DEFAULT_SEED,
) -> Path:
    """Writes a CTranslate2 model folder with all its files. The same arguments give the same model.

    Args:
        folder: Made if need be.
        layers: Of the encoder.
        decoder_layers: As many as the encoder's by default; fewer make a model that cannot translate.
        d_model: Width.
        heads: Attention heads; must divide `d_model`.
        n_mels: Mel bands of its input.
        languages: Whisper codes; empty for an English-only model.
        words: Words of its vocabulary, one token each: " w0", " w1", ….
        text_tokens: Positions of the decoder after which a text ends, and again after so many.
        steady: Whether every text is the same `text_tokens` words instead, whatever the audio, spread evenly over
            the window: so every decode takes as many steps, and a patient beam search goes on for nothing else.
        alignment_heads: Whether words can be aligned.
        quantization: Of the weights on disk, as CTranslate2's `compute_type`; None for single precision.
        seed: Of the weights.

    Returns:
        The folder.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    text = (
        ["", *(f"\u0120w{index}" for index in range(words))]
        if languages
        else [f"\u0120w{index}" for index in range(words + 1)]
    )
    # CTranslate2 4.7 and newer take a model for multilingual when its vocabulary has the empty token.
    marks = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages)]
    marks += [f"<|{task}|>" for task in _TASKS]
    timestamps = [f"<|{index * 0.02:.2f}|>" for index in range(_TIMESTAMPS)]
    vocabulary = [*text, *marks, *timestamps]

    count = layers if decoder_layers is None else decoder_layers
    spec = whisper_spec.WhisperSpec(layers, heads, count, heads)
    _fill_convolution(spec.encoder.conv1, d_model, n_mels, random)
    _fill_convolution(spec.encoder.conv2, d_model, d_model, random)
    spec.encoder.position_encodings.encodings = _weights(random, _ENCODER_POSITIONS, d_model)
    _fill_norm(spec.encoder.layer_norm, d_model)
    for layer in spec.encoder.layer:
        _fill_layer(layer, d_model, random)
    spec.decoder.embeddings.weight = random.standard_normal((len(vocabulary), d_model)).astype(np.float32)
    _fill_norm(spec.decoder.layer_norm, d_model)
    _make_ending(spec.decoder, random, len(vocabulary), len(text), text_tokens)
    for layer in spec.decoder.layer:
        _fill_layer(layer, d_model, random)
        _fill_attention(layer.attention, d_model, random, own=False)
        for attention, loudness in ((layer.attention, _AUDIO), (layer.self_attention, _CONTEXT)):
            attention.linear[-1].weight *= np.float32(loudness)
            attention.linear[-1].weight[0] = 0.0  # the channel that makes the text end is the position's alone

    if steady:
        make_steady(spec, text_tokens, end=len(text), last_timestamp=len(vocabulary) - 1, loudness=_LOUD)

    identifiers = {token: index for index, token in enumerate(vocabulary)}
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [identifiers[f"<|{code}|>"] for code in languages]
    if alignment_heads:
        spec.config.alignment_heads = [[count - 1, head] for head in range(heads)]
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))
    _write_tokenizer(folder, identifiers, marks, timestamps)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"feature_size": n_mels, "sampling_rate": 16_000, "n_fft": 400, "hop_length": 160})
    )
    return folder


def _weights(random: _Random, *shape: int) -> npt.NDArray[np.float32]:
    """Normally distributed so that a layer neither swells nor fades what goes through it."""
    scale = 1.0 / math.sqrt(math.prod(shape[1:]))
    return (random.standard_normal(shape) * scale).astype(np.float32)


def _make_ending(decoder: Any, random: _Random, vocabulary: int, eot: int, text_tokens: int) -> None:
    """Fills positions and projection: channel 0 says whether the text ends here, and end-of-text listens to it."""
    d_model = decoder.embeddings.weight.shape[1]
    positions = random.standard_normal((_DECODER_POSITIONS, d_model)).astype(np.float32)
    ends = np.arange(_DECODER_POSITIONS) % text_tokens == text_tokens - 1
    positions[:, 0] = np.where(ends, _END_SIGNAL, -_END_SIGNAL)
    decoder.position_encodings.encodings = positions
    projection = random.standard_normal((vocabulary, d_model)).astype(np.float32)
    projection[:eot] *= _LOUD
    projection[eot:] *= _FAINT
    projection[:, 0] = 0.0
    projection[eot] = 0.0
    projection[eot, 0] = _END_WEIGHT
    decoder.projection.weight = projection


def _fill_norm(spec: Any, width: int) -> None:
    spec.gamma = np.ones(width, dtype=np.float32)
    spec.beta = np.zeros(width, dtype=np.float32)


def _fill_linear(spec: Any, outputs: int, inputs: int, random: _Random) -> None:
    spec.weight = _weights(random, outputs, inputs)
    spec.bias = np.zeros(outputs, dtype=np.float32)


def _fill_convolution(spec: Any, outputs: int, inputs: int, random: _Random) -> None:
    spec.weight = _weights(random, outputs, inputs, 3)
    spec.bias = np.zeros(outputs, dtype=np.float32)


def _fill_attention(spec: Any, width: int, random: _Random, *, own: bool) -> None:
    """Self-attention has queries, keys and values in one matrix; cross-attention has the queries apart."""
    _fill_norm(spec.layer_norm, width)
    for linear, outputs in zip(spec.linear, (3 * width, width) if own else (width, 2 * width, width), strict=True):
        _fill_linear(linear, outputs, width, random)


def _fill_layer(spec: Any, width: int, random: _Random) -> None:
    _fill_attention(spec.self_attention, width, random, own=True)
    _fill_norm(spec.ffn.layer_norm, width)
    _fill_linear(spec.ffn.linear_0, 4 * width, width, random)
    _fill_linear(spec.ffn.linear_1, width, 4 * width, random)


def _write_tokenizer(folder: Path, identifiers: dict[str, int], marks: list[str], timestamps: list[str]) -> None:
    tokenizer = tokenizers.Tokenizer(models.WordLevel(identifiers, unk_token="\u0120w0"))  # noqa: S106 - a token of text
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(r" ?[^ ]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in timestamps])
    tokenizer.save(str(folder / "tokenizer.json"))
