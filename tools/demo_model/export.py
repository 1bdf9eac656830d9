# SPDX-License-Identifier: Apache-2.0
"""The trained model as a CTranslate2 folder that faster-whisper loads.

Follows `ctranslate2.specs.whisper_spec` and what `ctranslate2.converters.transformers.WhisperLoader` makes of a
Hugging Face model (CTranslate2 4.8), without the way through Hugging Face's format.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ctranslate2.specs.whisper_spec import WhisperSpec
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from demo_model.model import (
    DECODER_LAYERS,
    ENCODER_LAYERS,
    GUIDED_HEADS,
    HEADS,
    MEL_BANDS,
    Attention,
    DemoWhisper,
    EncoderLayer,
)
from demo_model.vocabulary import ID, SPECIAL_TOKENS, TIMESTAMP_TOKENS, TOKENS, UNKNOWN

_PREPROCESSOR = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": MEL_BANDS,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480_000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16_000,
    "processor_class": "WhisperProcessor",
}


def export(model: DemoWhisper, folder: Path, quantization: str | None = "int8") -> None:
    """Write the model with its vocabulary and tokenizer.

    Args:
        model: Trained.
        folder: Made anew if absent; files in it are replaced.
        quantization: As CTranslate2 names it; None for float32.
    """
    spec = WhisperSpec(ENCODER_LAYERS, HEADS, DECODER_LAYERS, HEADS)
    _fill_encoder(spec.encoder, model)
    _fill_decoder(spec.decoder, model)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [ID["<|en|>"]]
    spec.config.alignment_heads = [(DECODER_LAYERS - 1, head) for head in range(GUIDED_HEADS)]
    spec.register_vocabulary(list(TOKENS))
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR, indent=1), "utf-8")


def tokenizer() -> Tokenizer:
    """One token a word; case and `.,!?` are dropped, anything else unknown is `<unk>`."""
    tokens = Tokenizer(models.WordLevel({token: index for index, token in enumerate(TOKENS)}, unk_token=UNKNOWN))
    tokens.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(Regex(r"[.,!?]"), ""),
            normalizers.Strip(),
            normalizers.Prepend(" "),
        ]
    )
    tokens.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?[^ ]+"), "isolated"),
            # Without its regex, which would take "x-ray" apart.
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokens.decoder = decoders.ByteLevel()
    tokens.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokens.add_tokens([AddedToken(token, special=False, normalized=False) for token in TIMESTAMP_TOKENS])
    return tokens


def _fill_encoder(spec: Any, model: DemoWhisper) -> None:
    for target, source in ((spec.conv1, model.conv1), (spec.conv2, model.conv2)):
        target.weight = _array(source.weight)
        target.bias = _array(cast("Tensor", source.bias))
    spec.position_encodings.encodings = _array(model.audio_positions)
    _fill_norm(spec.layer_norm, model.encoder_norm)
    for target, layer in zip(spec.layer, model.encoder_layers(), strict=True):
        _fill_layer(target, layer)


def _fill_decoder(spec: Any, model: DemoWhisper) -> None:
    embedding = model.embedding()
    spec.embeddings.weight = _array(embedding)
    spec.projection.weight = _array(embedding)
    spec.position_encodings.encodings = _array(model.text_positions)
    _fill_norm(spec.layer_norm, model.decoder_norm)
    for target, layer in zip(spec.layer, model.decoder_layers(), strict=True):
        _fill_layer(target, layer)
        _fill_norm(target.attention.layer_norm, layer.encoder_attn_layer_norm)
        attention = layer.encoder_attn
        _fill_linear(target.attention.linear[0], attention.q_proj)
        _fill_linear(target.attention.linear[1], attention.k_proj, attention.v_proj)
        _fill_linear(target.attention.linear[2], attention.out_proj)


def _fill_layer(spec: Any, layer: EncoderLayer) -> None:
    attention: Attention = layer.self_attn
    _fill_norm(spec.self_attention.layer_norm, layer.self_attn_layer_norm)
    _fill_linear(spec.self_attention.linear[0], attention.q_proj, attention.k_proj, attention.v_proj)
    _fill_linear(spec.self_attention.linear[1], attention.out_proj)
    _fill_norm(spec.ffn.layer_norm, layer.final_layer_norm)
    _fill_linear(spec.ffn.linear_0, layer.fc1)
    _fill_linear(spec.ffn.linear_1, layer.fc2)


def _fill_norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _fill_linear(spec: Any, *parts: nn.Linear) -> None:
    """One matrix of several that have the same input; a part without a bias gets zeros."""
    spec.weight = np.concatenate([_array(part.weight) for part in parts])
    biases = [np.zeros(part.out_features, np.float32) if part.bias is None else _array(part.bias) for part in parts]
    spec.bias = np.concatenate(biases)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """A copy: CTranslate2 quantises what it is given in place."""
    return tensor.detach().to("cpu", torch.float32).numpy().copy()
