# SPDX-License-Identifier: Apache-2.0
"""Compare the words of sqscribe with those of faster-whisper, over the demo's clips or, with --real, real recordings.

The demo's clips were chosen because the bundled model transcribes them, and because sqscribe hears every word
(docs/demo-model.md): the table shows what sqscribe does to a model's results, not how good the model is, and its word
error rates are no contest. With --media and --model it takes other recordings and models:
beside each file stands `<stem>.json` with `words`, a list of `{word, start, end}` in seconds.

With --real a released model hears real recordings, alone, joined, unlike in loudness, with prompts, translated, and
sounds without speech. Models come from package registries into a cache outside the repository (SQSCRIBE_REAL_CACHE);
recordings from the folder that SQSCRIBE_REAL_SPEECH names. What faster-whisper said before is not asked again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sqscribe_bench.real.contender import CONTENDERS
from sqscribe_bench.real.plan import PARTS


def main() -> int:
    """Reads the arguments and compares."""
    parser = argparse.ArgumentParser(
        prog="python -m sqscribe_bench.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--media", type=Path, help="folder of recordings with their words (default: the demo's clips)")
    parser.add_argument(
        "--model", help="as SQSCRIBE_MODEL (default: demo; with --real tiny.en, base or a folder, base)"
    )
    parser.add_argument("--language", default="en", help="what is spoken in --media (default: en)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--compute-type", default="int8", help="as CTranslate2 (default: int8)")
    parser.add_argument("--batch-size", type=int, default=8, help="windows of a batch (default: 8)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    real = parser.add_argument_group("real recordings")
    real.add_argument("--real", action="store_true", help="released models on real recordings")
    real.add_argument("--only", type=_listed(PARTS), help=f"parts, of {','.join(PARTS)} (default: all; hours on a CPU)")
    real.add_argument("--contenders", type=_listed(CONTENDERS), help=f"of {','.join(CONTENDERS)} (default: all)")
    real.add_argument("--prompts", type=int, metavar="N", help="only N of the 15 prompts and lists of hotwords")
    real.add_argument("--orders", type=int, default=1, metavar="N", help="join sentences in N orders (default: 1)")
    real.add_argument("--match", metavar="A,B", help="only recordings that have A or B in their name")
    real.add_argument("--each", action="store_true", help="one row of the table a prompt, instead of their sum")
    real.add_argument("--save", type=Path, metavar="DIR", help="keep every transcript, with what was said beside it")
    arguments = parser.parse_args()
    arguments.only = arguments.only or list(PARTS)
    arguments.contenders = arguments.contenders or list(CONTENDERS)
    arguments.model = arguments.model or ("base" if arguments.real else "demo")
    if arguments.real:
        from sqscribe_bench.quality.real import compare  # noqa: PLC0415 - each loads what only it needs

        return compare(arguments)
    from sqscribe_bench.quality import clips  # noqa: PLC0415

    clips.compare(arguments)
    return 0


class _listed:  # noqa: N801 - argparse shows its name
    """`a,b` is ["a", "b"], and each must be known."""

    def __init__(self, known: object) -> None:
        self._known = list(known)  # type: ignore[call-overload]

    def __call__(self, text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if unknown := [name for name in names if name not in self._known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: it is one of {', '.join(self._known)}")
        return names


if __name__ == "__main__":
    sys.exit(main())
