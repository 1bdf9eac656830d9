# SPDX-License-Identifier: Apache-2.0
"""Of several GPUs a process sees its own alone, and the driver is told by NVML."""

# ruff: noqa: N802 - the names are those of NVML
from __future__ import annotations

import ctypes
from typing import Any

import pytest

from sqscribe.errors import UnfitNodeError
from stages.inference.engine.gpu import NO_DRIVER, Driver, choose_gpu, find_driver


class Nvml:
    """The library, as far as it is asked; `fails` names what answers with an error."""

    def __init__(self, *fails: str) -> None:
        self.fails = fails
        self.open = 0

    def __call__(self, name: str) -> Nvml:
        assert name == "libnvidia-ml.so.1"
        return self

    def nvmlInit_v2(self) -> int:
        self.open += 1
        return int("init" in self.fails)

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlSystemGetDriverVersion(self, buffer: Any, length: ctypes.c_uint) -> int:
        assert length.value == len(buffer) == 80
        buffer.value = b"570.86.15"
        return int("driver" in self.fails)

    def nvmlSystemGetCudaDriverVersion_v2(self, number: Any) -> int:
        number._obj.value = 12_080
        return int("cuda" in self.fails)


@pytest.mark.parametrize(
    ("before", "index", "after"),
    [
        ({}, 0, "0"),
        ({}, 2, "2"),
        ({"CUDA_VISIBLE_DEVICES": "3,1"}, 0, "3"),
        ({"CUDA_VISIBLE_DEVICES": "3, 1"}, 1, "1"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-5c0ad9a8,MIG-71"}, 1, "MIG-71"),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, ""),  # none on purpose
    ],
)
def test_one_gpu_is_left_visible_as_nvidia_smi_counts(before: dict[str, str], index: int, after: str) -> None:
    environ = dict(before)

    choose_gpu(index, environ)

    assert environ == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": after}


def test_an_order_that_somebody_has_chosen_stays() -> None:
    environ = {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}

    choose_gpu(1, environ)

    assert environ == {"CUDA_DEVICE_ORDER": "FASTEST_FIRST", "CUDA_VISIBLE_DEVICES": "1"}


@pytest.mark.parametrize("visible", ["0,1", ""])
def test_one_that_is_not_among_the_visible_ones_is_refused(visible: str) -> None:
    with pytest.raises(UnfitNodeError, match="GPU 2 was asked for, but CUDA_VISIBLE_DEVICES names"):
        choose_gpu(2, {"CUDA_VISIBLE_DEVICES": visible})


@pytest.mark.parametrize(
    ("fails", "driver"),
    [
        ((), Driver("570.86.15", "12.8")),
        (("cuda",), Driver("570.86.15", None)),
        (("driver",), Driver(None, "12.8")),
    ],
)
def test_the_driver_says_its_version_and_the_newest_cuda(fails: tuple[str, ...], driver: Driver) -> None:
    library = Nvml(*fails)

    assert find_driver(library) == driver
    assert library.open == 0


def test_a_machine_without_a_driver_has_none() -> None:
    def missing(name: str) -> Nvml:
        raise OSError(f"{name}: cannot open shared object file")

    assert find_driver(missing) == NO_DRIVER
    assert find_driver(Nvml("init")) == NO_DRIVER
