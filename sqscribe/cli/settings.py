# SPDX-License-Identifier: Apache-2.0
"""Turns the worker's settings into flags of a command, so that each setting is described in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["with_settings"]

#: Written to by tools and people, never on a command line, where every user of the machine could read them.
_NOT_FLAGS = frozenset({"s3_access_key_id", "s3_secret_access_key"})


def with_settings(only: Collection[str] | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds a flag for each setting to a command, which takes them as `**settings` (None: not given).

    Args:
        only: Names of the settings; all of them by default.
    """
    from worker.settings import Settings  # noqa: PLC0415 - `worker` is loaded by the commands that need it

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)  # typer would look for their names in this module
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        names = [name for name in Settings.model_fields if name not in _NOT_FLAGS and (only is None or name in only)]
        flags = [_flag(name, Settings.model_fields[name]) for name in names]

        def run(**given: Any) -> None:
            settings = {name: given.pop(name) for name in names}
            command(**given, **{name: value for name, value in settings.items() if value is not None})

        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        run.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *flags)}
        return run

    return decorate


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    # The values are text here: `worker.settings` reads them as it reads the environment.
    kind = bool | None if field.annotation is bool else str | None
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=field.description,
        show_default=False,
        metavar=None if field.annotation is bool else "VALUE",
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
