# SPDX-License-Identifier: Apache-2.0
"""Loads a Parakeet-TDT model from a folder into torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from sqscribe.errors import UnfitNodeError
from stages.inference.engine.gpu import NO_DRIVER, find_driver
from stages.inference.parakeet.shape import ModelShape, read_shape
from stages.inference.parakeet.transducer import Transducer
from stages.inference.parakeet.vocabulary import Vocabulary
from stages.inference.parakeet.weights import read_weights
from stages.inference.protocol import EngineInfo, EngineSettings

__all__ = ["LANGUAGES", "LoadedModel", "load_model"]

#: Of parakeet-tdt-0.6b-v3 (https://huggingface.co/nvidia/parakeet-tdt-0.6b-v3); the others know English alone.
LANGUAGES = (
    "bg", "hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "el", "hu", "it", "lv", "lt", "mt", "pl", "pt", "ro",
    "sk", "sl", "es", "sv", "ru", "uk",
)  # fmt: skip
#: The vocabulary of v3, with its blank; those of the English ones have 1,025 tokens.
_VOCABULARY_OF_ALL = 8193
#: Fields of a message that a greedy transducer has no use for. `beam_size` has a setting, so it is not looked at.
_UNSUPPORTED = (
    "initial_prompt", "hotwords", "temperature", "no_repeat_ngram_size", "repetition_penalty", "suppress_numerals",
)  # fmt: skip
#: Windows of a batch. Not measured on a GPU; one that does not fit is made smaller.
_BATCH_ON_GPU, _BATCH_ON_CPU = 32, 4
_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that is ready to work."""

    transducer: Transducer
    vocabulary: Vocabulary
    info: EngineInfo
    shape: ModelShape
    device: torch.device
    dtype: torch.dtype


def load_model(settings: EngineSettings) -> LoadedModel:
    """Loads the model onto the device.

    Args:
        settings: What to load, and where to.

    Raises:
        UnfitNodeError: There is no such device, compute type or model on this node.
    """
    folder = Path(settings.model)
    device = _device(settings)
    compute_type = _compute_type(settings.compute_type, device)
    if device.type == "cpu" and settings.cpu_threads:
        torch.set_num_threads(settings.cpu_threads)
    shape = read_shape(folder)
    transducer = Transducer(shape)
    try:
        transducer.load_state_dict(_without_counters(read_weights(folder / "model.safetensors")), strict=True)
    except RuntimeError as error:
        raise UnfitNodeError(f"the weights in {folder} do not fit its config.json: {error}") from error
    transducer = transducer.eval().to(device, _TYPES[compute_type])
    on_gpu = device.type == "cuda"
    driver = find_driver() if on_gpu else NO_DRIVER
    info = EngineInfo(
        name=settings.name,
        revision=settings.revision or _revision(folder),
        device=torch.cuda.get_device_name(device) if on_gpu else "cpu",
        compute_type=compute_type,
        languages=LANGUAGES if shape.vocabulary == _VOCABULARY_OF_ALL else ("en",),
        can_translate=False,
        can_align=True,
        batch_size=settings.batch_size or (_BATCH_ON_GPU if on_gpu else _BATCH_ON_CPU),
        startup_seconds=0.0,
        driver=driver.version,
        cuda=driver.cuda,
        detects_language=False,
        unsupported=_UNSUPPORTED,
    )
    return LoadedModel(transducer, Vocabulary(folder, shape.vocabulary), info, shape, device, _TYPES[compute_type])


def _device(settings: EngineSettings) -> torch.device:
    if settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available()):
        if settings.device == "auto" and settings.device_index:
            raise UnfitNodeError(f"GPU {settings.device_index} was asked for, but torch sees no such GPU.")
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UnfitNodeError(f"CUDA was asked for, but torch {torch.__version__} sees no GPU that it can use.")
    return torch.device("cuda", 0)


def _compute_type(wanted: str | None, device: torch.device) -> str:
    if wanted is None:
        return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if wanted not in _TYPES:
        raise UnfitNodeError(f"compute type {wanted!r} is none of Parakeet's; it has {', '.join(_TYPES)}.")
    return wanted


def _without_counters(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Batch normalisation counts the batches that it was trained on: a number that is not always kept."""
    means = (name for name in weights if name.endswith("running_mean"))
    return {**weights, **{name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means}}


def _revision(folder: Path) -> str:
    """A digest of what tells fine-tunes apart."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    with (folder / "model.safetensors").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
