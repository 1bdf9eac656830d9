# SPDX-License-Identifier: Apache-2.0
"""Files that hide a module because they have its name and lie in a folder that Python searches first.

`python -m` puts the current folder before all others. In a folder with a `worker.py`, every import of the package
`worker` would bring that file, and an error that names neither of the two.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from sqscribe.errors import ExitCode

__all__ = ["hidden_package", "watch_current_folder"]

#: The packages that are installed together.
_PACKAGES = ("sqscribe", "sqscribe_bench", "stages", "worker")
#: Where they are.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib may be hidden


def watch_current_folder() -> None:
    """Ends the program with one line if a file of the current folder hides a module that is about to be imported.

    The folder leaves `sys.path`, which processes started by `multiprocessing` take over; modules that are nowhere else
    are found in it all the same. Where Python does not search it (`-P`), or it is the one that holds this package,
    nothing happens.
    """
    if not sys.flags.safe_path and sys.path and sys.path[0] == os.getcwd() != _ROOT:  # noqa: PTH109 - as above
        sys.meta_path.insert(0, _CurrentFolder(sys.path.pop(0)))


def hidden_package() -> str | None:
    """What hides one of sqscribe's packages on this process's path, in words; None when nothing does."""
    for name in _PACKAGES:
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.origin and os.path.dirname(os.path.dirname(spec.origin)) != _ROOT:  # noqa: PTH120
            return _told(name, spec.origin)
    return None


class _CurrentFolder:
    """Finds modules in a folder, and refuses to go on if one of them is elsewhere too."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if path is not None:  # it is part of a package, and searched for there alone
            return None
        spec = PathFinder.find_spec(name, [self._folder], target)
        if spec is None or spec.origin is None:  # a folder without an `__init__.py` hides nothing
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        if all(finder.find_spec(name, None, target) is None for finder in others):
            return spec
        print(f"sqscribe: {_told(name, spec.origin)}", file=sys.stderr)  # noqa: T201 - nothing else is loaded yet
        raise SystemExit(int(ExitCode.USAGE))


def _told(name: str, origin: str) -> str:
    folder, file = os.path.split(origin)
    if file.startswith("__init__."):
        folder, file = os.path.split(folder)
    what = f"sqscribe's own package {name}" if name in _PACKAGES else f"the module {name}"
    return f"{file} in {folder} hides {what}; start with python -P -m sqscribe, or from another folder"
