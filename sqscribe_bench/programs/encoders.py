# SPDX-License-Identifier: Apache-2.0
"""The two encoders beside each other: how far their outputs differ, layer by layer, and what a window costs.

`python -m sqscribe_bench.programs.encoders MODEL` prints two tables, with `--device cuda` the second one. MODEL is one
of the released models that `make real` brings, or as `sqscribe bench --model` has it; the windows are English
recordings of the folder that `SQSCRIBE_REAL_SPEECH` names, the demo's clips where there is none.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import ctranslate2
import numpy as np
import numpy.typing as npt
import torch

from sqscribe import bundled
from sqscribe_bench.lab.library import default_cache
from sqscribe_bench.lab.model import model_folder
from sqscribe_bench.real.audio import read
from sqscribe_bench.real.cache import Cache, CannotBeHadError
from sqscribe_bench.real.packages import MODELS
from sqscribe_bench.real.recordings import spoken
from stages.inference.protocol import EngineSettings
from stages.inference.whisper.encoder import Encoder
from stages.inference.whisper.features import LogMel
from stages.inference.whisper.model import load_model
from stages.inference.whisper.shape import ModelShape, read_shape
from stages.inference.whisper.torch_encoder import TorchEncoder
from stages.inference.whisper.weights import Weights
from stages.values import SAMPLE_RATE

__all__ = ["Cost", "Difference", "costs", "differences"]

#: What makes a layer add nothing to what it is given, when it is zero.
_LAST = tuple(f"{part}/linear_1/{kind}" for part in ("self_attention", "ffn") for kind in ("weight", "bias"))
_CPU = torch.device("cpu")

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an encoder's output behind so many layers, and the last normalisation, is from another's.

    Attributes:
        layers: How many; 0: behind the convolutions.
        largest: The largest difference of two numbers, over the largest number.
        usual: The root of the mean square of the differences, over that of the numbers.
        own: `largest` of torch in single precision against torch in double precision.
        theirs: The same of CTranslate2.
    """

    layers: int
    largest: float
    usual: float
    own: float
    theirs: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What encoding takes.

    Attributes:
        name: `torch` or `ctranslate2`, and the compute type.
        seconds: For a window, median of the rounds.
        cpu_seconds: Of this process, for a window.
        weight_bytes: Of the torch encoder's own weights; those of CTranslate2's stay loaded beside them.
    """

    name: str
    seconds: float
    cpu_seconds: float
    weight_bytes: int


def differences(folder: Path, rows: Sequence[Samples]) -> Iterator[Difference]:
    """Compares torch with CTranslate2 on the CPU, both in single precision, behind each layer.

    Args:
        folder: A CTranslate2 model.
        rows: Samples in [-1, 1), each at most 30 s.
    """
    weights, shape = Weights(folder / "model.bin"), read_shape(folder)
    features = LogMel(shape.n_mels, _CPU)(rows)
    view = ctranslate2.StorageView.from_array(features.numpy())
    for layers in range(shape.encoder_layers + 1):
        theirs = np.array(_shortened(folder, weights, shape, layers).encode(view))
        short = replace(shape, encoder_layers=layers)
        ours, exact = (
            TorchEncoder(weights, short, _CPU, dtype, partial=True)(features).numpy()
            for dtype in (torch.float32, torch.float64)
        )
        yield Difference(
            layers,
            largest(ours, theirs),
            float(np.sqrt(np.square(ours - theirs).mean() / np.square(theirs).mean())),
            largest(ours, exact),
            largest(theirs, exact),
        )


def largest(ours: npt.NDArray[np.floating], theirs: npt.NDArray[np.floating]) -> float:
    """The largest difference over the largest number; NaN where there is one."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def costs(folder: Path, rows: Sequence[Samples], device: str, types: Sequence[str], rounds: int) -> list[Cost]:
    """Encodes the windows as one batch with each encoder and each compute type, by turns."""
    calls: dict[str, Callable[[], object]] = {}
    sizes: dict[str, int] = {}
    for compute_type in types:
        settings = EngineSettings(str(folder), "encoders", device=device, compute_type=compute_type, encoder="torch")
        model = load_model(settings, parallel=1)
        assert isinstance(model.torch_encoder, TorchEncoder)  # noqa: S101 - asked for
        for name, own in (("torch", model.torch_encoder), ("ctranslate2", None)):
            encoder = Encoder(model.whisper, model.device, own)
            calls[f"{name} {compute_type}"] = lambda encoder=encoder: encoder.encode(rows)  # type: ignore[misc]
            sizes[f"{name} {compute_type}"] = own.weight_bytes if own else 0
    return [
        Cost(name, median(each[0] for each in took), median(each[1] for each in took), sizes[name])
        for name, took in _timed(calls, len(rows), rounds).items()
    ]


def _timed(calls: Mapping[str, Callable[[], object]], rows: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and CPU seconds for a row, of each round behind one that is not counted."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            began, cpu = time.perf_counter(), time.process_time()
            call()
            spent = time.perf_counter() - began, time.process_time() - cpu
            if number:
                took[name].append((spent[0] / rows, spent[1] / rows))
    return took


def _shortened(folder: Path, weights: Weights, shape: ModelShape, layers: int) -> ctranslate2.models.Whisper:
    """The model with nothing added behind the first layers of its encoder, as CTranslate2 would compute them."""
    content = bytearray((folder / "model.bin").read_bytes())
    for layer in range(layers, shape.encoder_layers):
        for name in _LAST:
            place = weights.place(f"encoder/layer_{layer}/{name}")
            content[place] = bytes(place.stop - place.start)
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "model.bin"}
    return ctranslate2.models.Whisper(
        str(folder), compute_type="float32", files={**files, "model.bin": io.BytesIO(content)}
    )


def _windows(count: int) -> list[Samples]:
    """So many recordings, over again if there are fewer."""
    try:
        paths = [each.path for each in spoken("en")]
    except CannotBeHadError:
        paths = [clip.path for clip in bundled.demo_clips()]
    known = [read(path)[: 30 * SAMPLE_RATE] for path in paths[:count]]
    return [known[index % len(known)] for index in range(count)]


def main() -> int:
    """Reads the arguments and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m sqscribe_bench.programs.encoders", description=__doc__)
    parser.add_argument("model", help="tiny.en, base, a CTranslate2 folder, demo or random:ARCHITECTURE")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--compute-type", action="append", help="may be repeated (default: float32)")
    parser.add_argument("--rows", type=int, default=4, help="windows of the batch (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="by turns (default: 3)")
    arguments = parser.parse_args()
    try:
        released = MODELS.get(arguments.model)
        folder = Cache().item(released) if released else Path(model_folder(arguments.model, default_cache()))
    except CannotBeHadError as error:
        print(f"{arguments.model}: {error}", file=sys.stderr)
        return 1
    rows = _windows(arguments.rows)
    if arguments.device == "cpu":
        print("layers  largest   usual     torch to exact  CTranslate2 to exact", flush=True)
        for found in differences(folder, rows):
            print(
                f"{found.layers:6}  {found.largest:.2e}  {found.usual:.2e}  {found.own:14.2e}  {found.theirs:.2e}",
                flush=True,
            )
        print()
    print("encoder                   s/window  CPU s/window  MB of weights")
    for cost in costs(folder, rows, arguments.device, arguments.compute_type or ["float32"], arguments.rounds):
        size = cost.weight_bytes / 1e6
        print(f"{cost.name:24}  {cost.seconds:8.4f}  {cost.cpu_seconds:12.4f}  {size:13.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
