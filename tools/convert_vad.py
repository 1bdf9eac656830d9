# SPDX-License-Identifier: Apache-2.0
"""Rewrite faster-whisper's Silero VAD graph so that it costs a quarter: the same weights, in matrix products.

The original spends most of its time in small convolutions. Here a frame's four spectra are two products (a window of
a Fourier transform is symmetric, so sums and differences of mirrored samples need half of the multiplications), and
each convolution is one product for each of its positions that exist, without padding and without those that are
thrown away. Scaling from 16-bit samples is part of the first weights. Needs the `onnx` package.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_ROOT = Path(__file__).resolve().parent.parent
#: What the wheel of faster-whisper 1.2.1 has.
_NAME = "silero_vad_v6.onnx"

#: Bins of a spectrum of 256 samples.
_BINS = 129
#: Samples before the middle of a window, which is as many as mirror each other.
_HALF = 128
#: Spectra of a frame.
_STEPS = 4
_STATE = (1, 1, 128)

Weights = npt.NDArray[np.float32]


class Graph:
    """Nodes and constants of a graph, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        """Adds a constant; float32, or int64 for whole numbers."""
        array = np.asarray(values)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array, kind), name)
        return name

    def add(self, operation: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        """Adds a node; gives its first output."""
        self.nodes.append(helper.make_node(operation, inputs, outputs, **attributes))
        return outputs[0]

    def dense(self, values: str, weights: str, bias: str, output: str) -> str:
        """A product with a rectifier behind it."""
        return self.add("Relu", [self.add("Gemm", [values, weights, bias], f"{output}_sum")], output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="the original graph (default: the installed faster-whisper's)")
    parser.add_argument("--output", type=Path, default=_ROOT / "stages" / "segment" / _NAME, help="where it goes")
    arguments = parser.parse_args()
    model = convert(onnx.load(arguments.source or _original()))
    onnx.checker.check_model(model, full_check=True)
    arguments.output.write_bytes(model.SerializeToString(deterministic=True))


def convert(original: Any) -> Any:
    """The rewritten model.

    Its inputs are `sums` and `differences`, float32 [frames, 4, 128]: of the samples `n` and `256 - n` of each of a
    frame's windows, for `n` from 1 to 128, in units of the 16-bit sample; and the state `h` and `c`. Its outputs are
    `probabilities`, float32 [frames], and the next state.
    """
    weights = {each.name: numpy_helper.to_array(each) for each in original.graph.initializer}
    graph = Graph()
    _spectra(graph, weights["encoder.feature_extractor.forward_basis_buffer"][:, 0])
    layers = [f"encoder.conv_layers.{number}" for number in range(4)]
    _encoder(graph, *((weights[f"{layer}.weight"], weights[f"{layer}.bias"]) for layer in layers))
    _recurrence(graph, weights)
    float32 = onnx.TensorProto.FLOAT
    halves = [helper.make_tensor_value_info(each, float32, [None, _STEPS, _HALF]) for each in ("sums", "differences")]
    before, after = ([helper.make_tensor_value_info(each, float32, _STATE) for each in names] for names in ("hc", "HC"))
    probabilities = helper.make_tensor_value_info("probabilities", float32, [None])
    whole = helper.make_graph(
        graph.nodes, "silero_vad", [*halves, *before], [probabilities, *after], list(graph.constants.values())
    )
    return helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="sqscribe",
        doc_string="Silero VAD v6, Copyright (c) 2020-present Silero Team, MIT licence; made by tools/convert_vad.py",
    )


def _spectra(graph: Graph, basis: Weights) -> None:
    """Magnitudes [frames, 4 * 129] by a windowed Fourier transform, whose weights are `basis` [258, 256]."""
    cosines, sines = (half[:, 1 : _HALF + 1].T * np.float32(2**-15) for half in (basis[:_BINS], basis[_BINS:]))
    cosines[-1] /= 2  # the middle sample has no mirror image, so its sum is twice itself
    mirrored = basis[:, :_HALF:-1].T * np.float32(2**-15)
    if basis[:, 0].any() or sines[-1].any() or not np.allclose(mirrored[:, :_BINS], cosines[:-1], atol=1e-10):
        raise SystemExit("this is not the graph that was expected: its spectra are not symmetric")
    squares = []
    for values, half in (("sums", cosines), ("differences", sines)):
        part = graph.add("MatMul", [values, graph.constant(f"{values}_basis", half)], f"{values}_part")
        squares.append(graph.add("Mul", [part, part], f"{values}_square"))
    magnitudes = graph.add("Sqrt", [graph.add("Add", squares, "power")], "magnitude")
    graph.add("Reshape", [magnitudes, graph.constant("rows", [-1, _STEPS * _BINS])], "spectra")


def _encoder(graph: Graph, *layers: tuple[Weights, Weights]) -> None:
    """Four convolutions of width 3 over four, four, two and one positions: [frames, 128] of `encoded`."""
    (w0, b0), (w1, b1), (w2, b2), (w3, b3) = layers
    graph.constant("columns", [1])

    def taps(name: str, weight: Weights, *places: int) -> str:
        return graph.constant(name, np.concatenate([weight[:, :, place].T for place in places]))

    first, both, last = taps("w0_first", w0, 1, 2), taps("w0", w0, 0, 1, 2), taps("w0_last", w0, 0, 1)
    bias = graph.constant("b0", b0)
    positions = []
    for step, matrix in enumerate((first, both, both, last)):
        begin, end = max(step - 1, 0) * _BINS, min(step + 2, _STEPS) * _BINS
        bounds = [graph.constant(f"from_{step}", [begin]), graph.constant(f"to_{step}", [end]), "columns"]
        seen = graph.add("Slice", ["spectra", *bounds], f"spectra_{step}")
        positions.append(graph.dense(seen, matrix, bias, f"layer0_{step}"))
    bias = graph.constant("b1", b1)
    begun = graph.add("Concat", positions[:2], "layer0_begin", axis=1)
    ended = graph.add("Concat", positions[1:], "layer0_end", axis=1)
    halves = [
        graph.dense(begun, taps("w1_first", w1, 1, 2), bias, "layer1_0"),
        graph.dense(ended, taps("w1", w1, 0, 1, 2), bias, "layer1_1"),
    ]
    joined = graph.add("Concat", halves, "layer1", axis=1)
    middle = graph.dense(joined, taps("w2", w2, 1, 2), graph.constant("b2", b2), "layer2")
    graph.dense(middle, taps("w3", w3, 1), graph.constant("b3", b3), "encoded")


def _recurrence(graph: Graph, weights: dict[str, Weights]) -> None:
    """The LSTM over the frames, and what it makes of each."""
    parts = [weights[f"onnx::LSTM_{number}"] for number in (209, 210, 211)]
    names = [graph.constant(name, part) for name, part in zip(("lstm_w", "lstm_r", "lstm_b"), parts, strict=True)]
    frames = graph.add("Unsqueeze", ["encoded", "columns"], "frames")
    graph.add("LSTM", [frames, *names, "", "h", "c"], "states", "H", "C", hidden_size=_STATE[-1])
    states = graph.add("Reshape", ["states", graph.constant("wide", [-1, _STATE[-1]])], "hidden")
    active = graph.add("Relu", [states], "active")
    decoder = [graph.constant("out_w", weights["decoder.conv1d.weight"][:, :, 0].T)]
    decoder.append(graph.constant("out_b", weights["decoder.conv1d.bias"]))
    likely = graph.add("Sigmoid", [graph.add("Gemm", [active, *decoder], "logits")], "likely")
    graph.add("Reshape", [likely, graph.constant("flat", [-1])], "probabilities")


def _original() -> Path:
    spec = importlib.util.find_spec("faster_whisper")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("faster-whisper is not installed; name its graph with --source")
    return Path(spec.submodule_search_locations[0], "assets", _NAME)


if __name__ == "__main__":
    main()
