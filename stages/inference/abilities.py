# SPDX-License-Identifier: Apache-2.0
"""What a model can be asked for: the one rule of the worker, before it fetches, and of the engine."""

from __future__ import annotations

from collections.abc import Sequence

from stages.inference.protocol import EngineInfo

__all__ = ["inability"]

#: Languages that a message names of a model that knows more.
_NAMED = 8


def inability(
    info: EngineInfo,
    *,
    task: str,
    language: str | None,
    candidates: Sequence[str] = (),
    word_timestamps: bool = False,
) -> str | None:
    """Why the model would answer with wrong text: the option, the model and what it can do. None if it would not.

    Args:
        info: The engine's.
        task: `transcribe` or `translate`.
        language: Whisper code, `multi`, or None to detect it.
        candidates: Whisper codes that detection chooses among.
        word_timestamps: Whether words need times.
    """
    if task == "translate" and not info.can_translate:
        return (
            f"task: model {info.name} cannot translate (it is English-only, or distilled without that task); "
            "send the job to workers with a full multilingual model such as large-v3"
        )
    if word_timestamps and not info.can_align:
        return f"word_timestamps: model {info.name} has no alignment heads; leave the option out or use another model"
    if language == "multi":
        if len(info.languages) < 2:
            return f"language: model {info.name} knows {info.languages[0]} alone, so `multi` cannot be honoured"
    elif language is not None and language not in info.languages:
        return _unknown(info, "language", [language])
    lacking = [code for code in candidates if code not in info.languages]
    return _unknown(info, "languages", lacking) if lacking else None


def _unknown(info: EngineInfo, field: str, languages: Sequence[str]) -> str:
    return (
        f"{field}: model {info.name} does not know {', '.join(map(repr, languages[:_NAMED]))}; "
        f"it knows {', '.join(info.languages[:_NAMED])}{' …' if len(info.languages) > _NAMED else ''}"
    )
