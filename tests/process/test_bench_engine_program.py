# SPDX-License-Identifier: Apache-2.0
"""The engine by itself, measured in a process of its own, on a tiny model with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from sqscribe_bench.engine.figures import EngineFigure, engine_figures
from sqscribe_bench.engine.sweep import EnginePlan, EngineRun, EngineSetup, EngineSweep, engine_launcher, write_windows
from sqscribe_bench.programs.feed import Feed
from stages.inference.protocol import DecodeOptions, DecodeTask, EncoderChoice, EngineSettings, WindowDone
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.random_model import make_random_model
from stages.values import SAMPLE_RATE, Piece, Window

pytestmark = pytest.mark.process

WORDS = 30
SAMPLES = 4 * SAMPLE_RATE
TONES = (200, 300, 400, 600, 900, 1_200, 1_500, 2_400)
#: Share of texts that are the same on a GPU in half precision, where near-ties may fall otherwise.
ENOUGH = 0.75

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(ctranslate2.get_cuda_device_count() == 0, reason="CTranslate2 sees no NVIDIA GPU here"),
]


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a text of so many words for every window, as the benchmark's have."""
    return make_random_model(
        tmp_path_factory.mktemp("steady"), layers=1, d_model=64, words=300, text_tokens=WORDS, steady=True
    )


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spoken") / "windows.pcm"
    write_windows(path)
    return path


def measure(
    model: Path,
    pcm: Path,
    logs: Path,
    *,
    device: str,
    sizes: Sequence[int],
    relapse: int,
    seconds: float = 0.0,
    encoder: str = "auto",
) -> tuple[EngineRun, list[EngineFigure], list[str]]:
    setup = EngineSetup("random", str(model), None, beam_size=2, parallel=None, cores=1, encoder=encoder)
    plan = EnginePlan(device, [setup], sizes, rounds=1, seconds=seconds, batches=2, relapse=relapse, timeout=120.0)
    sweep = EngineSweep(plan, pcm, engine_launcher(logs), lambda _line: None)
    (run,) = sweep.runs()
    return run, engine_figures([run]), sweep.notes


@pytest.mark.parametrize("encoder", ["auto", "torch"])
def test_a_sweep_on_a_cpu_measures_every_batch_size_on_the_cores_that_it_was_given(
    steady: Path, spoken: Path, tmp_path: Path, encoder: str
) -> None:
    run, figures, notes = measure(steady, spoken, tmp_path, device="cpu", sizes=[1, 3], relapse=2, encoder=encoder)

    assert (run.failure, notes) == (None, [])
    assert run.loaded is not None
    assert (run.loaded.cores, run.loaded.parallel, run.loaded.device) == (1, 1, "cpu")
    assert sorted(run.loaded.mel) == [1, 3]
    # The text was decoded every time, word by word, and its words were aligned.
    assert all(figure.words_per_window >= 0.9 * WORDS for figure in figures)
    assert all(figure.encode > 0 and figure.generate > 0 and figure.align > 0 for figure in figures)
    assert all(figure.cpu_per_batch > 0 and figure.peak_memory > 0 and figure.windows > 0 for figure in figures)
    assert [point.windows for point in run.points[:2]] == [2, 6]
    # Half of the windows went round once more, and once only.
    assert [figure.again for figure in figures] == [0.0, 0.0, 0.5]


def test_a_model_that_cannot_be_loaded_is_a_failure_that_says_why(spoken: Path, tmp_path: Path) -> None:
    run, figures, _ = measure(tmp_path / "nothing", spoken, tmp_path, device="cpu", sizes=[1], relapse=0)

    assert run.failure is not None
    assert "model folder" in run.failure
    assert figures == []


@pytest.mark.skipif(ctranslate2.get_cuda_device_count() > 0, reason="there is an NVIDIA GPU here")
def test_a_gpu_that_is_not_there_is_a_failure_that_says_so(steady: Path, spoken: Path, tmp_path: Path) -> None:
    run, _, _ = measure(steady, spoken, tmp_path, device="cuda", sizes=[1], relapse=0)

    assert run.failure is not None
    assert "CUDA was asked for, but CTranslate2 sees no GPU" in run.failure


@pytest.mark.parametrize("encoder", ["ctranslate2", "torch"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_texts_are_those_of_a_cpu_in_single_precision(device: str, encoder: EncoderChoice, tmp_path: Path) -> None:
    # Given a model whose text depends on the audio, and a window of each of some tones
    model = make_random_model(tmp_path / "model", layers=1, d_model=32)
    time = np.arange(SAMPLES) / SAMPLE_RATE
    pcm = tmp_path / "tones.pcm"
    pcm.write_bytes(b"".join((np.sin(2 * np.pi * tone * time) * 8_000).astype("<i2").tobytes() for tone in TONES))

    # When
    wanted = results(model, pcm, device="cpu", compute_type="float32", batch_size=1)
    half = "float16" if device == "cuda" else "float32"
    found = results(model, pcm, device=device, compute_type=half, batch_size=4, encoder=encoder)

    # Then: where something was sampled, texts may differ
    compared = [(text_of(a), text_of(b)) for a, b in zip(wanted, found, strict=True) if not a.result.temperature]
    assert len(compared) > len(TONES) // 2
    assert len({text for text, _ in compared}) > len(compared) // 2
    assert all(text for text, _ in compared)
    assert sum(a == b for a, b in compared) >= (ENOUGH if device == "cuda" else 1.0) * len(compared)


@pytest.mark.gpu
@pytest.mark.skipif(ctranslate2.get_cuda_device_count() == 0, reason="CTranslate2 sees no NVIDIA GPU here")
def test_a_sweep_on_a_gpu(steady: Path, spoken: Path, tmp_path: Path) -> None:
    run, figures, notes = measure(steady, spoken, tmp_path, device="cuda", sizes=[4], relapse=10, seconds=3.0)

    assert run.failure is None
    assert run.loaded is not None
    assert (run.loaded.parallel, run.loaded.compute_type) == (2, "float16")
    assert run.loaded.model_memory > 0
    assert len(run.loaded.mel[4]) == 2
    assert all(figure.words_per_window >= 0.9 * WORDS for figure in figures)
    assert all(figure.busy is not None for figure in figures) or "Busy is not measured" in notes[0]


def results(
    model: Path,
    pcm: Path,
    *,
    device: str,
    compute_type: str,
    batch_size: int,
    encoder: EncoderChoice = "ctranslate2",
) -> list[WindowDone]:
    settings = EngineSettings(
        str(model),
        "random",
        device=device,
        compute_type=compute_type,
        batch_size=batch_size,
        encoder=encoder,
        log_level="error",
    )
    windows = tuple(
        Window(index, (Piece(0, index * SAMPLES, SAMPLES),), speech=SAMPLES, speech_end=0)
        for index in range(len(TONES))
    )
    options = DecodeOptions("en", "transcribe", None, None, beam_size=2)
    fed = Feed(WhisperDecoder.load(settings), batch_size).run([DecodeTask("job", str(pcm), windows, options)])
    return sorted(fed.results, key=lambda done: done.result.index)


def text_of(done: WindowDone) -> str:
    return "".join(segment.text for segment in done.result.segments)
