# SPDX-License-Identifier: Apache-2.0
"""What a model can be asked for: the one rule of the worker, before it fetches, and of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqscribe.tuning import TEMPERATURES
from stages.inference.protocol import DecodeOptions, EngineInfo

__all__ = ["inability"]

#: Languages that a message names of a model that knows more.
_NAMED = 8


def inability(info: EngineInfo, options: DecodeOptions, *, word_timestamps: bool = False) -> str | None:
    """Why the model would answer with wrong text: the option, the model and what it can do. None if it would not.

    Args:
        info: The engine's.
        options: The job's.
        word_timestamps: Whether words need times.
    """
    if options.task == "translate" and not info.can_translate:
        return (
            f"task: model {info.name} cannot translate (it is English-only, or not trained for that task); "
            "send the job to workers with a full multilingual model such as large-v3"
        )
    if word_timestamps and not info.can_align:
        return f"word_timestamps: model {info.name} has no alignment heads; leave the option out or use another model"
    for field in _set_fields(options):
        if field in info.unsupported:
            return f"{field}: model {info.name} has no use for it; leave the option out or use another model"
    return _language_inability(info, options)


def _language_inability(info: EngineInfo, options: DecodeOptions) -> str | None:
    language = options.language
    if language == "multi" and len(info.languages) < 2:
        return f"language: model {info.name} knows {info.languages[0]} alone, so `multi` cannot be honoured"
    if language in (None, "multi") and len(info.languages) > 1 and not info.detects_language:
        return f"language: model {info.name} cannot tell which language is spoken; name one"
    if language not in (None, "multi", *info.languages):
        return _unknown(info, "language", [str(language)])
    lacking = [code for code in options.candidates if code not in info.languages]
    return _unknown(info, "languages", lacking) if lacking else None


def _set_fields(options: DecodeOptions) -> Iterator[str]:
    """Fields of a message, by their names there, that are not as they are by default; language and task apart."""
    if options.initial_prompt:
        yield "initial_prompt"
    if options.hotwords:
        yield "hotwords"
    if options.temperatures != TEMPERATURES:
        yield "temperature"
    if options.no_repeat_ngram_size:
        yield "no_repeat_ngram_size"
    if options.repetition_penalty != 1.0:
        yield "repetition_penalty"
    if options.suppress_numerals:
        yield "suppress_numerals"


def _unknown(info: EngineInfo, field: str, languages: Sequence[str]) -> str:
    return (
        f"{field}: model {info.name} does not know {', '.join(map(repr, languages[:_NAMED]))}; "
        f"it knows {', '.join(info.languages[:_NAMED])}{' …' if len(info.languages) > _NAMED else ''}"
    )
