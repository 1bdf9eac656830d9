# SPDX-License-Identifier: Apache-2.0
"""CUDA's cuBLAS is found where wheels put it, without any setting."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import Any

import pytest

from sqscribe.errors import UnfitNodeError
from stages.inference.whisper.model import _preload_cublas

NAMES = ("libcublasLt.so.12", "libcublas.so.12")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of libraries of an installed nvidia-cublas-cu12, which is a part of the namespace package `nvidia`."""
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def mapped() -> set[str]:
    """Files that this process has loaded."""
    lines = Path("/proc/self/maps").read_text("utf-8").splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}


def test_both_libraries_are_loaded_from_the_wheel_the_one_that_the_other_needs_first(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given libraries that can be loaded, whatever is in them
    real = next(path for path in mapped() if Path(path).name.startswith("libm.so"))
    for name in NAMES:
        shutil.copy(real, wheel / name)
    loaded: list[tuple[str, int]] = []

    class Recorded(ctypes.CDLL):
        def __init__(self, name: str, mode: int = ctypes.DEFAULT_MODE, **options: Any) -> None:
            super().__init__(name, mode, **options)
            loaded.append((name, mode))

    monkeypatch.setattr(ctypes, "CDLL", Recorded)

    # When
    _preload_cublas()

    # Then
    assert loaded == [(str(wheel / name), ctypes.RTLD_GLOBAL) for name in NAMES]
    assert {str(wheel / name) for name in NAMES} <= mapped()


@pytest.mark.parametrize("broken", NAMES)
def test_one_that_cannot_be_loaded_is_named_with_what_to_install(wheel: Path, broken: str) -> None:
    # Given
    real = next(path for path in mapped() if Path(path).name.startswith("libm.so"))
    for name in NAMES:
        shutil.copy(real, wheel / name)
    (wheel / broken).write_bytes(b"no library")

    # When
    with pytest.raises(UnfitNodeError) as refused:
        _preload_cublas()

    # Then
    assert str(refused.value).startswith(f"{broken} is missing, or cannot be loaded")
    assert str(wheel / broken) in str(refused.value)
    assert "install nvidia-cublas-cu12" in str(refused.value)
