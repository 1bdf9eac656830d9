# SPDX-License-Identifier: Apache-2.0
"""Turns the fields of a dataclass into options of a command, which then takes one object, not twenty arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

__all__ = ["with_options"]


def with_options(kind: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds an option for each field of a dataclass to a command, in their order.

    Args:
        kind: A dataclass. Each field has a default, and in its `Annotated` type what typer is told of the option.

    Returns:
        A decorator. The command's last parameter, `options`, gets an object of that class.
    """
    hints = get_type_hints(kind, include_extras=True)
    flags = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(kind)
        if field.default is not MISSING
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        known = get_type_hints(command, include_extras=True)  # typer would look for their names in this module
        own = [
            parameter.replace(annotation=known[parameter.name])
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != "options"
        ]

        def run(**given: Any) -> None:
            options = kind(**{flag.name: given.pop(flag.name) for flag in flags})
            command(**given, options=options)

        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        run.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *flags)}
        return run

    return decorate
