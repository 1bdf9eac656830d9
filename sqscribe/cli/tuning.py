# SPDX-License-Identifier: Apache-2.0
"""Flags of what is transcribed and how its text is looked for, for every command that makes jobs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

__all__ = ["with_tuning"]

#: The command's parameter in whose place the flags stand.
_PARAMETER = "tuning"
#: Digits that may be a track's number; anything else is refused with the message's own words.
_MOST_DIGITS = 9
#: Flags whose values are the members of an object.
_VAD = {"vad_threshold": "threshold", "vad_min_silence": "min_silence", "vad_pad": "pad"}


def with_tuning(command: Callable[..., None]) -> Callable[..., None]:
    """Puts the flags in the place of a command's parameter `tuning`, which gets those that were given.

    It gets them as a message's fields. The command has a parameter `vad` of its own.
    """
    hints = get_type_hints(command, include_extras=True)  # typer would look for their names in this module
    parameters = [
        each.replace(annotation=hints[each.name]) if each.name in hints else each
        for each in inspect.signature(command).parameters.values()
    ]
    place = next(index for index, each in enumerate(parameters) if each.name == _PARAMETER)
    flags = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
        for name, (annotation, default) in _FLAGS.items()
    ]
    shown = [*parameters[:place], *flags, *parameters[place + 1 :]]

    def run(**given: Any) -> None:
        values = {name: given.pop(name) for name in _FLAGS}
        command(**given, **{_PARAMETER: _fields(values, vad=given["vad"])})

    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {each.name: each.annotation for each in shown}
    return run


#: Name to what it is and its default; those of commands that say nothing of a message's field.
_FLAGS: dict[str, tuple[Any, Any]] = {
    "track": (
        Annotated[
            str | None,
            typer.Option(help="Which audio track, from 0; `all`: each by itself. [default: the first with sound]"),
        ],
        None,
    ),
    "channels": (
        Annotated[str, typer.Option(help="`mix`, or `split`: each by itself, as of calls with a side on each.")],
        "mix",
    ),
    "vad_threshold": (
        Annotated[
            float | None,
            typer.Option(min=0, max=1, help="Probability from which on a moment is speech. [default: 0.5]"),
        ],
        None,
    ),
    "vad_min_silence": (
        Annotated[float | None, typer.Option(min=0, max=60, help="Seconds; a shorter silence stays in. [default: 1]")],
        None,
    ),
    "vad_pad": (
        Annotated[
            float | None,
            typer.Option(min=0, max=10, help="Seconds of silence kept before and after speech. [default: 0.4]"),
        ],
        None,
    ),
    "level": (
        Annotated[bool, typer.Option("--level/--no-level", help="Bring speech to a common loudness, or leave it.")],
        True,
    ),
    "max_window": (
        Annotated[
            float | None, typer.Option(min=5, max=30, help="Most seconds that are decoded at once. [default: 30]")
        ],
        None,
    ),
    "languages": (
        Annotated[str | None, typer.Option(help="Codes that detection chooses among, comma-separated.")],
        None,
    ),
    "temperature": (
        Annotated[
            str | None,
            typer.Option(help="0 to 1, or several: the first and its fallbacks. [default: 0,0.2,0.4,0.6,0.8,1]"),
        ],
        None,
    ),
    "no_repeat_ngram_size": (
        Annotated[int | None, typer.Option(min=0, max=100, help="No so many tokens in a row come twice.")],
        None,
    ),
    "repetition_penalty": (
        Annotated[float | None, typer.Option(min=0.1, max=10, help="Over 1: words that came before are less likely.")],
        None,
    ),
    "suppress_numerals": (
        Annotated[bool, typer.Option("--suppress-numerals", help="Spell numbers out.")],
        False,
    ),
}


def _fields(values: dict[str, Any], *, vad: bool) -> dict[str, Any]:
    fields = {name: value for name, value in values.items() if name not in _VAD and value != _FLAGS[name][1]}
    if "track" in fields:
        text = fields["track"]
        fields["track"] = int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else text
    if "languages" in fields:
        fields["languages"] = _listed(fields["languages"])
    if "temperature" in fields:
        numbers = [_number(text) for text in _listed(fields["temperature"])]
        fields["temperature"] = numbers if len(numbers) > 1 else numbers[0]
    members = {member: values[flag] for flag, member in _VAD.items() if values[flag] is not None}
    if members and not vad:
        raise typer.BadParameter("goes with --vad", param_hint="--vad-threshold, --vad-min-silence, --vad-pad")
    return {**fields, "vad": members} if members else fields


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number", param_hint="--temperature") from None
