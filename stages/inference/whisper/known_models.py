# SPDX-License-Identifier: Apache-2.0
"""Published models by name: what their files do not say.

A model that was distilled on one language keeps the tokens of all languages in its vocabulary and its configuration;
asked for another one, it writes nonsense that looks like its own. What files do say (shape, vocabulary, alignment
heads) is read from them and stands nowhere here.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

__all__ = ["COMPUTE_TYPES", "KNOWN_LANGUAGES", "SHORT_NAMES", "english_is_known", "known_languages"]

_ENGLISH = ("en",)
_JAPANESE = ("ja",)

#: By plain name: the Whisper codes that a model was trained for; None: all of its vocabulary.
#: OpenAI's: https://github.com/openai/whisper; distil-*: https://huggingface.co/distil-whisper;
#: kotoba-*: https://huggingface.co/kotoba-tech.
KNOWN_LANGUAGES: dict[str, tuple[str, ...] | None] = {
    "tiny": None,
    "tiny.en": _ENGLISH,
    "base": None,
    "base.en": _ENGLISH,
    "small": None,
    "small.en": _ENGLISH,
    "medium": None,
    "medium.en": _ENGLISH,
    "large-v1": None,
    "large-v2": None,
    "large-v3": None,
    "large-v3-turbo": None,
    "distil-small.en": _ENGLISH,
    "distil-medium.en": _ENGLISH,
    "distil-large-v2": _ENGLISH,
    "distil-large-v3": _ENGLISH,
    "distil-large-v3.5": _ENGLISH,
    "kotoba-v1.0": _JAPANESE,
    "kotoba-v1.1": _JAPANESE,
    "kotoba-v2.0": _JAPANESE,
    "kotoba-v2.1": _JAPANESE,
    "kotoba-v2.2": _JAPANESE,
    "kotoba-bilingual-v1.0": ("en", "ja"),
}

#: The names that faster-whisper finds on the hub by itself (`faster_whisper.available_models`).
SHORT_NAMES = (
    "tiny.en", "tiny", "base.en", "base", "small.en", "small", "medium.en", "medium", "large-v1", "large-v2",
    "large-v3", "large", "distil-large-v2", "distil-medium.en", "distil-small.en", "distil-large-v3",
    "distil-large-v3.5", "large-v3-turbo", "turbo",
)  # fmt: skip
#: Those of CTranslate2: https://opennmt.net/CTranslate2/quantization.html
COMPUTE_TYPES = ("default", "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16",
                 "bfloat16", "float32")  # fmt: skip

#: Other names of the same.
_ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo", "large-turbo": "large-v3-turbo"}
#: Who published those models on the hub, as they are. Another's `whisper-base` may be anything.
_PUBLISHERS = frozenset(
    {"openai", "systran", "guillaumekln", "distil-whisper", "deepdml", "mobiuslabsgmbh", "dropbox-dash", "h2oai"}
)
#: Parts of a name that say what it was made with or how its numbers are kept, not what it is.
_FILLERS = frozenset(
    {"whisper", "faster", "ct2", "ctranslate2", "openai", "hf", "model"}
    | {"fp16", "float16", "fp32", "float32", "bf16", "bfloat16", "int8", "int16"}
)
_HUB_CACHE = "models--"


def known_languages(*names: str) -> tuple[str, ...] | None:
    """The languages that a model was trained for; None: nobody knows, or all that its vocabulary has.

    Args:
        names: What the model is called, in any spelling: a short name, one of the hub (`owner/name`), a folder of that
            name, one of the hub's cache, or an address in S3.
    """
    for name in names:
        languages = KNOWN_LANGUAGES.get(_plain(name))
        if languages is not None:
            return languages
    return None


def english_is_known(model: str) -> bool:
    """Whether the name, as the settings have it, is that of a published model that understands English.

    A folder or an address in S3 has the name that its owner gave it, so it says nothing.
    """
    owner, slash, _ = model.rpartition("/")
    plain = _plain(model)
    if plain not in KNOWN_LANGUAGES or (slash and owner.lower() not in _PUBLISHERS):
        return False
    languages = KNOWN_LANGUAGES[plain]
    return languages is None or "en" in languages


def _plain(name: str) -> str:
    """The name as the table has it, if it is one of those: `Systran/faster-distil-whisper-large-v3` too."""
    parts = PurePosixPath(name).parts
    # The hub's cache has models--owner--name/snapshots/commit.
    cached = [part.rsplit("--", 1)[-1] for part in parts if part.startswith(_HUB_CACHE)]
    last = cached[-1] if cached else parts[-1] if parts else ""
    words = [word for word in re.split(r"[-_]", last.lower()) if word and word not in _FILLERS]
    plain = re.sub(r"-en$", ".en", "-".join(words))
    return _ALIASES.get(plain, plain)
