# SPDX-License-Identifier: Apache-2.0
"""The fields of a job message that tune how its text is looked for, and the rules that each must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter

from sqscribe.language_hints import language_hint
from sqscribe.languages import LANGUAGES
from sqscribe.message_faults import shown
from sqscribe.tuning import LONGEST_WINDOW, Tuning, VadTuning

__all__ = ["TuningFields", "checked_language"]

_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True)
#: Temperatures of one job.
_MOST_TEMPERATURES = 10
_USUAL_VAD = VadTuning()

_Temperature = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_bool = TypeAdapter(bool, config=ConfigDict(strict=True))
_temperature: TypeAdapter[float] = TypeAdapter(_Temperature, config=ConfigDict(strict=True))
_temperatures: TypeAdapter[list[float]] = TypeAdapter(
    Annotated[list[_Temperature], Field(min_length=1, max_length=_MOST_TEMPERATURES)], config=ConfigDict(strict=True)
)


class VadFields(BaseModel):
    """`vad` as an object. Upper limits are such that milliseconds are never taken for seconds."""

    model_config = _STRICT

    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = _USUAL_VAD.threshold
    min_silence: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = _USUAL_VAD.min_silence
    pad: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = _USUAL_VAD.pad


# A union would have each of its members find fault with the value. What a validator raises keeps its place.


def _vad(value: Any) -> bool | VadFields:
    return VadFields.model_validate(dict(value)) if isinstance(value, Mapping) else _bool.validate_python(value)


def _one_or_several(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    several = _temperatures.validate_python(value) if isinstance(value, list) else [_temperature.validate_python(value)]
    return tuple(dict.fromkeys(several))


def checked_language(value: str, besides: str = "") -> str:
    """The value, if it is a Whisper language code.

    Raises:
        ValueError: It is not; `besides` is said in the end, of what else there is.
    """
    if value not in LANGUAGES:
        hint = language_hint(value)
        text = f"{shown(value)} is no Whisper language code"
        raise ValueError(f"{text}; {hint}" if hint else f"{text} (as 'en'){besides}")
    return value


def _candidate(value: str) -> str:
    return checked_language(value)


class TuningFields(BaseModel):
    """A part of the job message. None stands for a field that is absent or null."""

    model_config = _STRICT

    temperature: Annotated[tuple[float, ...] | None, PlainValidator(_one_or_several)] = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)] | None = None
    suppress_numerals: bool = False
    languages: (
        Annotated[list[Annotated[str, AfterValidator(_candidate)]], Field(min_length=1, max_length=len(LANGUAGES))]
        | None
    ) = None
    vad: Annotated[bool | VadFields, PlainValidator(_vad)] = True
    level: bool = True
    max_window: Annotated[float, Field(ge=5, le=LONGEST_WINDOW, allow_inf_nan=False)] | None = None

    @property
    def tuning(self) -> Tuning:
        """The same with every default filled in."""
        given: dict[str, Any] = {
            each.name: value
            for each in fields(Tuning)
            if each.name != "vad" and (value := getattr(self, each.name)) is not None
        }
        if self.languages is not None:
            given["languages"] = tuple(dict.fromkeys(self.languages))
        if isinstance(self.vad, VadFields):
            given["vad"] = VadTuning(**self.vad.model_dump())
        return Tuning(**given)
