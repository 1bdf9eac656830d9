# SPDX-License-Identifier: Apache-2.0
"""Decodes files with damaged heads, thousands of them if asked, and says which did harm.

`python -m sqscribe_bench.media.fuzz --count 5000 --seed 1`. The same seed damages the same bytes; a file that did harm
is kept with `--keep FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from sqscribe.errors import JobFailedError
from sqscribe_bench.media.row import CannotBeMadeError, Workshop
from stages.decode import AudioDecoder, DecodeLimits
from stages.ports import Cancellation
from stages.values import Media, Source

#: What is damaged: one of each family of containers.
_NAMES = {
    "wav": ("-ac", "2"), "flac": (), "mp3": (), "aac": (), "m4a": ("-movflags", "+faststart"), "mov": (),
    "ogg": ("-c:a", "libvorbis"), "opus": (), "webm": ("-c:a", "libopus"), "mka": ("-c:a", "aac"), "avi": (), "wma": (),
    "flv": ("-ar", "44100"), "ts": (), "mpg": ("-c:a", "mp2", "-ar", "48000"), "aiff": (), "caf": ("-c:a", "pcm_s16be"),
    "rm": ("-c:a", "ac3", "-ar", "44100"), "wv": (), "au": (),
}  # fmt: skip
#: Bytes of the head in which damage is done.
_HEAD = 600
#: Seconds that one may take, and how much longer it may be until it is ended.
_PATIENCE, _GRACE = 30.0, 10.0


def main() -> int:
    """Fails where one did harm."""
    parser = argparse.ArgumentParser(prog="python -m sqscribe_bench.media.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="files (300)")
    parser.add_argument("--seed", type=int, default=1, help="of the damage (1)")
    parser.add_argument("--keep", type=Path, help="folder for files that did harm")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="sqscribe-fuzz-") as name:
        return _fuzz(Path(name), arguments.count, arguments.seed, arguments.keep)


def _fuzz(folder: Path, count: int, seed: int, keep: Path | None) -> int:
    whole = _good_files(folder)
    outcomes: dict[str, int] = {}
    faults = []
    with AudioDecoder(DecodeLimits(3600, timeout=_PATIENCE, stall_timeout=_PATIENCE)) as decoder:
        for number in range(count):
            chance = random.Random(f"{seed}-{number}")
            name = list(whole)[number % len(whole)]
            path = folder / f"damaged-{number}"
            path.write_bytes(damaged(whole[name], chance))
            outcome, fault = _decode(decoder, path, folder / "job")
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if fault:
                faults.append(f"{seed}-{number} ({name}): {fault}")
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, keep / f"{seed}-{number}.{name}")
            path.unlink()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"kinds": sorted(whole), "outcomes": outcomes, "faults": faults, "peak": peak}))
    return 1 if faults else 0


def _good_files(folder: Path) -> dict[str, bytes]:
    shop = Workshop(folder)
    whole = {}
    for name, how in _NAMES.items():
        try:
            whole[name] = shop.encode(folder / f"good.{name}", "-t", "2", *how).read_bytes()
        except CannotBeMadeError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return whole


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """A file whose head was damaged in one or a few of the ways in which heads are."""
    content = bytearray(whole)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(min(_HEAD, max(1, len(content))))
        width = chance.choice([1, 2, 4, 8])
        match chance.randrange(7):
            case 0:
                content[place : place + width] = chance.randbytes(width)
            case 1:
                content[place : place + width] = b"\xff" * width
            case 2:
                content[place : place + width] = bytes(width)
            case 3:
                content[place : place + 1] = bytes([content[place] ^ (1 << chance.randrange(8))])
            case 4:
                del content[place : place + width]
            case 5:
                content[place:place] = content[place : place + chance.randrange(64)]
            case _:
                content = content[: chance.randrange(place, len(content)) + 1]
    return bytes(content)


def _decode(decoder: AudioDecoder, path: Path, job: Path) -> tuple[str, str]:
    """How it came out, and what harm it did."""
    job.mkdir()
    began = time.monotonic()
    try:
        audio = decoder.decode(Source(path, path.stat().st_size, "digest", Media()), job, _Room(), Cancellation())
        outcome, fault = "audio", "" if audio.samples else "no sample, and no error"
        left = [each.name for each in job.iterdir() if each != audio.path]
    except JobFailedError as error:
        outcome = error.code.value
        left = [each.name for each in job.iterdir()]
        fault = "" if len(error.message.split()) >= 6 and str(path.parent) not in error.message else error.message
    except Exception as error:  # noqa: BLE001 - what is looked for
        outcome, fault, left = type(error).__name__, repr(error), []
    finally:
        shutil.rmtree(job)
    taken = time.monotonic() - began
    if taken > _PATIENCE + _GRACE:
        fault = f"took {taken:.0f} s"
    return outcome, fault or (f"left {left}" if left else "")


class _Room:
    """Scratch space without a bound."""

    def reserve(self, total: int, cancellation: Cancellation) -> None:
        """Grants it."""


if __name__ == "__main__":
    sys.exit(main())
