# SPDX-License-Identifier: Apache-2.0
"""Train the bundled demo model again: speak the phrases, train, export to CTranslate2, evaluate.

Everything is kept in one folder: phrases (about 55 KB each), checkpoint.pt, and the exported model in model/. Stopped
at any time, the same command goes on from the last checkpoint. docs/demo-model.md says what the model is and how good
the one that ships is.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from demo_model.corpus import Corpus
from demo_model.evaluation import held_out, word_error_rates
from demo_model.export import export
from demo_model.training import Phase, Schedule, Trainer

#: Short windows first: they make it learn at all in minutes. The timestamps' targets sharpen as the windows grow.
_PHASES = "8:5:12:2:0,8:5:24:1.5:0,10:12:12:1:0.1,60:30:8:0.8:0.3,15:30:8:0.45:0.3"
_SMOKE_PHASES = "0.2:5:6:2:0,0.1:12:2:1:0.5,0.1:30:1:0.45:1"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where phrases, checkpoint and model are kept")
    parser.add_argument("--phrases", type=int, default=62_000, help="phrases to speak (default: 62000, 30 hours)")
    parser.add_argument("--mp3-phrases", type=int, default=10_000, help="of them also as mp3 (default: 10000)")
    parser.add_argument(
        "--phases",
        default=_PHASES,
        help=f"minutes:window seconds:batch:timestamp sigma:share of long prompts, ... (default: {_PHASES})",
    )
    parser.add_argument("--seed", type=int, default=5, help="of the weights and the draw of windows (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--recordings", type=int, default=20, help="held-out recordings to evaluate (default: 20)")
    parser.add_argument(
        "--smoke", action="store_true", help="go the whole way in a minute with a model that knows nothing"
    )
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.phrases, arguments.mp3_phrases, arguments.recordings = 240, 60, 1
        arguments.phases = _SMOKE_PHASES

    torch.set_num_threads(arguments.threads)
    began = time.monotonic()
    corpus = Corpus(arguments.folder / "phrases", arguments.phrases, arguments.mp3_phrases)
    print(f"{len(corpus)} phrases after {time.monotonic() - began:.0f} s", flush=True)
    schedule = Schedule(tuple(Phase.parse(phase) for phase in arguments.phases.split(",")))
    trainer = Trainer(corpus, schedule, seed=arguments.seed, device=arguments.device)
    checkpoint = arguments.folder / "checkpoint.pt"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    trainer.run(checkpoint)
    export(trainer.model, arguments.folder / "model")
    print(f"exported after {time.monotonic() - began:.0f} s", flush=True)
    rates = word_error_rates(arguments.folder / "model", held_out(corpus, arguments.recordings))
    for mode, rate in rates.items():
        print(f"{mode}: word error rate {rate:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
