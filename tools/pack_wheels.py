# SPDX-License-Identifier: Apache-2.0
"""Packs what sqscribe needs for a machine that has a GPU and no package registry, in parts small enough to carry.

    python tools/pack_wheels.py --there there.txt --pin imageio-ffmpeg==0.6.0 --check /path/to/python3.12

`there.txt` names what that machine has, a package a line. All else that sqscribe and its benchmark require comes as
wheels, in the versions of `constraints.txt` unless another is pinned (newer builds of ffmpeg may be too large to
carry), into the folders `a`, `b` and so on. Each is installed there by
`pip install --no-index --no-deps --target SITE PART/*.whl`; SITE and the checkout go into PYTHONPATH.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from email.parser import HeaderParser
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[1]
#: Extras of the project without which nothing is measured, and what tests and word errors of its benchmark need.
EXTRAS = ("bench", "demo")
BESIDES = ("pytest", "hypothesis", "jiwer")
#: Oldest glibc first; pip takes what it knows of these.
PLATFORMS = ("manylinux1", "manylinux2010", "manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28")
#: Is several gigabytes, and is there wherever there is a GPU worth carrying to: the dry import goes without.
TOO_LARGE = "torch"

#: Imports every module of the project, and runs ffmpeg. Prints each that cannot be imported, and why.
DRY_IMPORT = """
import importlib, pkgutil, subprocess, sys
import imageio_ffmpeg
subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-version"], check=True, stdout=subprocess.DEVNULL)
names = ["ctranslate2", "faster_whisper", "moto.server", "boto3", "yt_dlp", "pytest", "hypothesis"]
for package in ("sqscribe", "stages", "worker", "sqscribe_bench"):
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")
    names += [each.name for each in found if not each.name.endswith("__main__") and ".programs." not in each.name]
failed = without = 0
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in sys.argv[1:]:
            without += 1
            continue
        print(name, error, file=sys.stderr)
        failed += 1
print(f"{len(names) - failed - without} modules imported, {without} need what is too large to try, {failed} failed")
sys.exit(bool(failed))
"""


class IncompleteError(Exception):
    """A pack that would not do; the message says why."""


def requirements(python: str) -> list[Requirement]:
    """What the project itself requires, to run and to be measured."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [each for name in EXTRAS for each in project["optional-dependencies"][name]]
    return list(applying([*project["dependencies"], *extras, *BESIDES], python, ()))


def applying(lines: Iterable[str], python: str, extras: Sequence[str]) -> Iterable[Requirement]:
    """Those that hold for a Python on Linux, with some extras."""
    environment = {str(name): str(value) for name, value in default_environment().items()}
    environment |= {"python_version": python, "python_full_version": f"{python}.0"}
    for line in lines:
        wanted = Requirement(line)
        if wanted.marker is None or any(
            wanted.marker.evaluate(environment | {"extra": each}) for each in ("", *extras)
        ):
            yield wanted


def pack(python: str, there: set[str], pinned: dict[str, str], folder: Path) -> tuple[list[Path], set[str]]:
    """Downloads wheels until nothing that they require is missing.

    Args:
        python: The version to pack for, such as 3.12.
        there: Normalized names of what need not come.
        pinned: `name==version` by name.
        folder: Where the wheels go.

    Returns:
        The wheels, and the names out of `there` that something requires.

    Raises:
        IncompleteError: A package has no wheel for that Python.
    """
    wheels: dict[str, Path] = {}
    relied: set[str] = set()
    seen: set[tuple[str, tuple[str, ...]]] = set()
    wanted = requirements(python)
    while wanted:
        new = {canonicalize_name(each.name): each for each in wanted}
        relied |= {name for name in new if name in there}
        missing = sorted(name for name in new if name not in wheels and name not in there)
        if missing:
            download([pinned.get(name, name) for name in missing], python, folder)
            wheels |= {parse_wheel_filename(path.name)[0]: path for path in folder.glob("*.whl")}
        if lost := [name for name in missing if name not in wheels]:
            raise IncompleteError(f"no wheel came for {', '.join(lost)}")
        further: list[Requirement] = []
        for each in wanted:
            name, extras = canonicalize_name(each.name), tuple(sorted(each.extras))
            if name in wheels and (name, extras) not in seen:
                seen.add((name, extras))
                further += applying(required_by(wheels[name]), python, extras)
        wanted = further
    return sorted(wheels.values()), relied


def constraints(instead: Sequence[str]) -> dict[str, str]:
    """`name==version` by name, as was tested, but for those that are named instead."""
    lines = [*(ROOT / "constraints.txt").read_text("utf-8").splitlines(), *instead]
    pins = [line for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(line.partition("==")[0]): line for line in pins}


def download(wanted: Sequence[str], python: str, folder: Path) -> None:
    """Has pip bring wheels for that Python, without what they require.

    Raises:
        IncompleteError: It could not; with what it said.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--dest", str(folder)]
    command += [part for each in PLATFORMS for part in ("--platform", f"{each}_x86_64")]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise IncompleteError(done.stderr.strip())


def required_by(wheel: Path) -> list[str]:
    """What a wheel requires, markers and all."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.count("/") == 1 and each.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode("utf-8")).get_all("Requires-Dist") or []


def parts(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Shares files among parts, none of which is larger than the limit: the largest file first, where there is room.

    Raises:
        IncompleteError: One file alone is too large.
    """
    made: list[list[str]] = []
    for name in sorted(sizes, key=lambda each: (-sizes[each], each)):
        if sizes[name] > limit:
            raise IncompleteError(f"{name} has {sizes[name]:,} bytes, and a part may have {limit:,}")
        for part in made:
            if sum(sizes[each] for each in part) + sizes[name] <= limit:
                part.append(name)
                break
        else:
            made.append([name])
    return made


def check(python: Path, wheels: Sequence[Path], relied: Iterable[str]) -> None:
    """Installs the pack in a clean environment as it will be, and imports every module of the project.

    Raises:
        IncompleteError: Something is missing.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    with TemporaryDirectory(prefix="sqscribe-pack-") as scratch:
        venv, site = Path(scratch) / "venv", Path(scratch) / "site"
        run = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([str(python), "-m", "venv", str(venv)], env=environ, check=True)
        stand_ins = sorted(set(relied) - {TOO_LARGE})
        if stand_ins:
            subprocess.run([*run, *stand_ins], env=environ, check=True)
        put = ["--no-index", "--no-deps", "--no-compile", "--target", str(site), *map(str, wheels)]
        subprocess.run([*run, *put], env=environ, check=True)
        environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(site)])
        done = subprocess.run([run[0], "-P", "-c", DRY_IMPORT, TOO_LARGE], env=environ, cwd=scratch, check=False)
        if done.returncode:
            raise IncompleteError("the pack does not import as a whole")


def main() -> int:
    """Packs, shows the parts, and checks them if it is told with which Python."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12", help="version to pack for (3.12)")
    parser.add_argument("--there", type=Path, required=True, help="file with the names of what that machine has")
    parser.add_argument("--part-mib", type=float, default=50.0, help="most of a part, in MiB (50)")
    parser.add_argument("--output", type=Path, default=Path("packs"), help="folder for the parts (packs)")
    parser.add_argument("--pin", action="append", default=[], metavar="NAME==VERSION", help="instead of the tested one")
    parser.add_argument("--check", type=Path, metavar="PYTHON", help="try the pack with this interpreter")
    options = parser.parse_args()
    lines = options.there.read_text("utf-8").split()
    there = {str(canonicalize_name(line.partition("==")[0])) for line in lines}
    options.output.mkdir(parents=True, exist_ok=True)
    if any(options.output.iterdir()):
        parser.error(f"{options.output} is not empty")
    try:
        wheels, relied = pack(options.python, there, constraints(options.pin), options.output)
        shared = parts({path.name: path.stat().st_size for path in wheels}, int(options.part_mib * 2**20))
        for letter, names in zip("abcdefghij", shared, strict=False):
            (options.output / letter).mkdir()
            for name in names:
                (options.output / name).rename(options.output / letter / name)
        for part in sorted(options.output.iterdir()):
            sizes = [path.stat().st_size for path in part.iterdir()]
            print(f"{part}: {len(sizes)} wheels, {sum(sizes) / 2**20:.1f} MiB")
        print(f"relies on what is there: {', '.join(sorted(relied))}")
        if options.check:
            check(options.check, sorted(options.output.rglob("*.whl")), relied)
    except IncompleteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
