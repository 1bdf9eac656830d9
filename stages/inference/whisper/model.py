# SPDX-License-Identifier: Apache-2.0
"""Finds, checks and loads a Whisper model into CTranslate2."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import structlog
import torch
from faster_whisper.utils import download_model

from sqscribe.errors import UnfitNodeError
from stages.inference.engine.gpu import NO_DRIVER, find_driver
from stages.inference.engine.memory import keep_memory
from stages.inference.protocol import EncoderChoice, EncoderKind, EngineInfo, EngineSettings
from stages.inference.whisper.batch_size import BATCH_SIZE_ON_CPU, batch_size_on_gpu, value_bytes
from stages.inference.whisper.device import best_compute_type, checked_compute_type, find_device
from stages.inference.whisper.known_models import known_languages
from stages.inference.whisper.shape import ModelShape, read_shape
from stages.inference.whisper.torch_encoder import TorchEncoder, torch_type
from stages.inference.whisper.vocabulary import Vocabulary
from stages.inference.whisper.weights import Weights

__all__ = ["LoadedModel", "cpu_cores", "load_model"]

#: Batches under way at once on a GPU: the tail of one overlaps the head of the next. Each has a worker of its own.
_PARALLEL_ON_GPU = 2
#: Likewise on a CPU, at most. Threads of one batch wait for one another many times a layer, those of two never: on two
#: cores, two batches of one thread each get through a third more than one of two (docs/performance.md).
_PARALLEL_ON_CPU = 4
#: Retries sample; the same order of batches gives the same samples.
_SEED = 20_250_101
_CUBLAS_HELP = (
    "CTranslate2 needs the CUDA 12 cuBLAS: install nvidia-cublas-cu12 (a torch built for CUDA 12 brings it, one for "
    "CUDA 13 does not), or use a CUDA 12 runtime image"
)

_DIGEST_SAMPLES = 64
_DIGEST_SAMPLE_BYTES = 4096

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that is ready to work.

    Attributes:
        folder: Of its files.
        shape: As its files have it.
        device: Torch's name of the device that it is on.
        parallel: Batches that it works on at once.
        torch_encoder: Computes the encoder's output; None: CTranslate2 does.
    """

    folder: Path
    whisper: ctranslate2.models.Whisper
    vocabulary: Vocabulary
    info: EngineInfo
    shape: ModelShape
    device: torch.device
    parallel: int
    torch_encoder: Callable[[torch.Tensor], torch.Tensor] | None = None


def load_model(settings: EngineSettings, *, parallel: int | None = None) -> LoadedModel:
    """Loads the model onto the device, and works out what it can do and how much of it at once.

    Args:
        settings: What to load, and where to. Of several GPUs, `choose_gpu` has left one visible.
        parallel: Batches to work on at once; None: as many as are best on the device.

    Raises:
        UnfitNodeError: There is no such device, library, compute type or model on this node.
    """
    device = find_device(settings.device, settings.device_index)
    on_gpu = device.type == "cuda"
    folder = _folder(settings)
    shape = read_shape(folder)
    cores = cpu_cores()
    if on_gpu:
        _preload_cublas()
    ctranslate2.set_random_seed(_SEED)
    threads = settings.cpu_threads or cores
    parallel = parallel or (_PARALLEL_ON_GPU if on_gpu else min(threads, _PARALLEL_ON_CPU))
    compute_type = _compute_type(settings, device, shape, parallel)
    encoder = _encoder_kind(settings.encoder)
    if not on_gpu:
        # The features take a few per cent of a batch's time; more threads would only spin beside CTranslate2's.
        torch.set_num_threads(max(1, threads // parallel) if encoder == "torch" else 1)
    try:
        whisper = ctranslate2.models.Whisper(
            str(folder),
            device=device.type,
            compute_type=compute_type,
            inter_threads=parallel,
            intra_threads=max(1, threads // parallel),
        )
    except (RuntimeError, ValueError) as error:
        raise UnfitNodeError(f"model {settings.name} in {folder} cannot be loaded on {device.type}: {error}") from error
    own = None
    if encoder == "torch":
        own = TorchEncoder(Weights(folder / "model.bin"), shape, device, torch_type(str(whisper.compute_type)))
    if not on_gpu:
        keep_memory()
    vocabulary = Vocabulary(folder, multilingual=whisper.is_multilingual, language_ids=shape.language_ids)
    languages = _languages(settings, folder, vocabulary, shape)
    driver = find_driver() if on_gpu else NO_DRIVER
    info = EngineInfo(
        name=settings.name,
        revision=_revision(folder, settings.revision),
        device=torch.cuda.get_device_name(device) if on_gpu else "cpu",
        compute_type=str(whisper.compute_type),
        languages=languages,
        can_translate=whisper.is_multilingual and not shape.pruned and len(languages) > 1,
        can_align=shape.can_align,
        batch_size=settings.batch_size
        or _batch_size(shape, device, settings.beam_size, parallel, str(whisper.compute_type)),
        startup_seconds=0.0,
        variant=("torch",) if encoder == "torch" else (),
        driver=driver.version,
        cuda=driver.cuda,
    )
    log.info(
        "model_loaded",
        model=info.name,
        revision=info.revision,
        device=info.device,
        compute_type=info.compute_type,
        batch_size=info.batch_size,
        driver=info.driver,
        cuda=info.cuda,
        encoder=encoder,
    )
    return LoadedModel(folder, whisper, vocabulary, info, shape, device, parallel, own)


def cpu_cores() -> int:
    """Cores that this process may use, by its affinity and by its container's quota, whichever is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no quota
        return cores


def _encoder_kind(wanted: EncoderChoice) -> EncoderKind:
    """Who encodes: CTranslate2 unless torch is asked for, since no GPU has shown torch faster so far."""
    return "torch" if wanted == "torch" else "ctranslate2"


def _folder(settings: EngineSettings) -> Path:
    local = Path(settings.model)
    if local.is_dir():
        return local
    if local.is_absolute() or settings.model.startswith("."):
        raise UnfitNodeError(f"model folder {local} does not exist.")
    try:
        return Path(download_model(settings.model, revision=settings.revision))
    except Exception as error:  # whatever the hub's client of the day raises
        raise UnfitNodeError(
            f"model {settings.model} cannot be had ({type(error).__name__}: {error}); name one of faster-whisper's "
            "models or a local folder, and check the network."
        ) from error


def _preload_cublas() -> None:
    """Loads cuBLAS by path, so that CTranslate2's own dlopen by name finds it.

    Wheels put it where the dynamic loader does not look (https://github.com/SYSTRAN/faster-whisper/issues/516).
    cublasLt comes first, because cublas needs it.

    Raises:
        UnfitNodeError: It is neither among the wheels nor on the system.
    """
    folders = []
    spec = importlib.util.find_spec("nvidia")
    if spec is not None:
        folders = [Path(root) / "cublas" / "lib" for root in spec.submodule_search_locations or ()]
    for name in ("libcublasLt.so.12", "libcublas.so.12"):
        candidates = [str(folder / name) for folder in folders if (folder / name).is_file()]
        try:
            ctypes.CDLL((*candidates, name)[0], mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise UnfitNodeError(f"{name} is missing, or cannot be loaded ({error}). {_CUBLAS_HELP}.") from error


def _compute_type(settings: EngineSettings, device: torch.device, shape: ModelShape, parallel: int) -> str:
    if settings.compute_type is not None:
        return checked_compute_type(settings.compute_type, device.type)
    supported = ctranslate2.get_supported_compute_types(device.type)
    if device.type == "cpu":
        return best_compute_type("cpu", supported)
    free, _total = torch.cuda.mem_get_info(device)

    def windows(compute_type: str) -> int:
        size = value_bytes(compute_type)
        return batch_size_on_gpu(shape, free - size * shape.parameters, settings.beam_size, parallel, size)

    return best_compute_type("cuda", supported, windows)


def _batch_size(shape: ModelShape, device: torch.device, beam_size: int, parallel: int, compute_type: str) -> int:
    if device.type == "cpu":
        return BATCH_SIZE_ON_CPU
    free, _total = torch.cuda.mem_get_info(device)
    return batch_size_on_gpu(shape, free, beam_size, parallel, value_bytes(compute_type))


def _languages(settings: EngineSettings, folder: Path, vocabulary: Vocabulary, shape: ModelShape) -> tuple[str, ...]:
    """Those that the vocabulary has, less those that the model is known not to have been trained for."""
    known = known_languages(settings.model, settings.name, str(folder))
    if known is not None:
        return tuple(code for code in vocabulary.languages if code in known) or vocabulary.languages
    if shape.distilled and len(vocabulary.languages) > 1:
        log.warning("model_languages_unproven", model=settings.name, languages=len(vocabulary.languages))
    return vocabulary.languages


def _revision(folder: Path, wanted: str | None) -> str:
    """The commit of a downloaded model, the revision asked for, or a digest of what tells local folders apart."""
    if folder.parent.name == "snapshots":  # the hub's cache names folders by commit
        return folder.name
    if wanted is not None:
        return wanted
    # Fine-tunes of one model share their configuration, so weights are sampled all over the file.
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    with (folder / "model.bin").open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(str(size).encode())
        for place in range(_DIGEST_SAMPLES):
            file.seek(size * place // _DIGEST_SAMPLES)
            digest.update(file.read(_DIGEST_SAMPLE_BYTES))
    return digest.hexdigest()[:16]
