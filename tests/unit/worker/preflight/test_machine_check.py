# SPDX-License-Identifier: Apache-2.0
"""Scratch, times, names of settings, and the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worker.preflight import Severity
from worker.preflight.machine import check_machine, check_times, check_unknown
from worker.preflight.model import check_device, device_findings
from worker.settings import Settings


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)


def lines(findings: Any, severity: Severity) -> list[str]:
    return [each.line for each in findings if each.severity is severity]


def test_scratch_that_is_too_small_for_what_is_allowed_is_a_warning(tmp_path: Path) -> None:
    small = lines(
        check_machine(settings(scratch_dir=tmp_path, scratch_bytes=2 << 30, max_source_bytes=4 << 30)), Severity.WARNING
    )
    large = lines(check_machine(settings(scratch_dir=tmp_path, scratch_bytes=1 << 60)), Severity.WARNING)

    assert [line for line in small if "SQSCRIBE_MAX_SOURCE_BYTES" in line and "4.0 GiB" in line and "2.0 GiB" in line]
    assert [line for line in large if "SQSCRIBE_SCRATCH_BYTES" in line]


def test_scratch_that_cannot_be_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    (found,) = lines(check_machine(settings(scratch_dir=tmp_path / "file" / "scratch")), Severity.WRONG)

    assert found.startswith("SQSCRIBE_SCRATCH_DIR: ")


def test_times_that_do_not_fit_are_warnings() -> None:
    assert lines(check_times(settings()), Severity.WARNING) == []
    told = " ".join(lines(check_times(settings(visibility_timeout=5, checkpoint_seconds=7200)), Severity.WARNING))
    assert "SQSCRIBE_VISIBILITY_TIMEOUT" in told
    assert "7200 s of work" in told


def test_a_name_with_a_typing_error_is_a_warning() -> None:
    names = ["SQSCRIBE_QUEUE_ULR", "SQSCRIBE_QUEUE_URL", "SQSCRIBE_WHATEVER", "PATH", "sqscribe_out_put"]

    told = lines(check_unknown(names), Severity.WARNING)

    assert [line.partition(":")[0] for line in told] == ["SQSCRIBE_OUT_PUT", "SQSCRIBE_QUEUE_ULR"]
    assert "did you mean SQSCRIBE_QUEUE_URL?" in told[1]


@pytest.mark.process
def test_the_device_and_what_it_computes_in_are_asked_for_in_another_process() -> None:
    (right,) = check_device(settings(model="demo", device="cpu", compute_type="int8"))
    found = list(check_device(settings(model="demo", device="cpu", compute_type="float16")))

    assert right.severity is Severity.OK
    assert [each.severity for each in found] == [Severity.OK, Severity.UNFIT]
    assert "float16" in found[1].line
    assert "int8" in found[1].remedy


GPU = {"name": "NVIDIA GeForce RTX 3060", "compute_types": ["float16", "float32"], "best": "float16", "problem": None}


def test_a_gpu_is_told_with_its_driver_and_the_type_that_it_computes_in() -> None:
    found = list(device_findings(settings(device="cuda"), {**GPU, "driver": "570.86.15", "cuda": "12.8"}))

    (line,) = lines(found, Severity.OK)
    assert line.startswith("SQSCRIBE_DEVICE: cuda is NVIDIA GeForce RTX 3060, driver 570.86.15, CUDA 12.8; computes in")
    assert "float16" in line
    assert len(found) == 1


def test_a_driver_that_is_too_old_is_a_warning() -> None:
    old = list(device_findings(settings(device="cuda"), {**GPU, "driver": "550.54.14", "cuda": "12.4"}))
    new = list(device_findings(settings(device="cuda"), {**GPU, "driver": "580.65.06", "cuda": "13.0"}))
    silent = list(device_findings(settings(device="cuda"), {**GPU, "driver": None, "cuda": None}))

    (told,) = lines(old, Severity.WARNING)
    assert told.startswith("driver: 550.54.14 runs CUDA 12.4")
    assert lines(new, Severity.WARNING) == lines(silent, Severity.WARNING) == []


@pytest.mark.process
@pytest.mark.skipif(Path("/dev/nvidia1").exists(), reason="there is such a GPU")
def test_a_gpu_that_is_not_there_is_unfit_whatever_the_device_is_called() -> None:
    (found,) = check_device(settings(model="demo", device="auto", device_index=1))

    assert found.severity is Severity.UNFIT
    assert "GPU 1" in found.why
