# SPDX-License-Identifier: Apache-2.0
"""Training by wall time: phases, learning rate, checkpoints from which it goes on as if it had not stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demo_model.batches import draw_batch
from demo_model.corpus import Corpus
from demo_model.losses import Loss, measure
from demo_model.model import DemoWhisper

_WEIGHT_DECAY = 0.02
_BETAS = (0.9, 0.98)
_CLIP = 1.0
_WARM_UP_STEPS = 150


@dataclass(frozen=True, slots=True)
class Phase:
    """Some minutes of training with one kind of window.

    Attributes:
        minutes: Wall time.
        seconds: Length of a window.
        batch: Windows a step.
        sigma: Width of the soft timestamp targets in steps of 20 ms.
        long_prompts: Share of the batches with long previous text.
    """

    minutes: float
    seconds: float
    batch: int
    sigma: float
    long_prompts: float

    @classmethod
    def parse(cls, text: str) -> Phase:
        """Read `minutes:seconds:batch:sigma:long_prompts`."""
        minutes, seconds, batch, sigma, long_prompts = text.split(":")
        return cls(float(minutes), float(seconds), int(batch), float(sigma), float(long_prompts))


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long, with what, and how fast to learn.

    Attributes:
        phases: In order.
        first_rate: Learning rate after the warm-up.
        last_rate: Learning rate at the end; between them it follows a cosine of the wall time.
        save_seconds: How often a checkpoint is written.
        report_seconds: How often figures are printed.
    """

    phases: tuple[Phase, ...]
    first_rate: float = 1.5e-3
    last_rate: float = 5e-6
    save_seconds: float = 120.0
    report_seconds: float = 30.0

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return 60 * sum(phase.minutes for phase in self.phases)

    def phase(self, elapsed: float) -> Phase:
        """The phase at `elapsed` seconds."""
        ends = accumulate(60 * phase.minutes for phase in self.phases)
        return next((phase for phase, end in zip(self.phases, ends, strict=True) if elapsed < end), self.phases[-1])

    def rate(self, elapsed: float, step: int) -> float:
        """The learning rate at `elapsed` seconds and `step` steps."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, elapsed / self.total)))
        warm_up = self.first_rate * (step + 1) / _WARM_UP_STEPS
        return min(warm_up, self.last_rate + (self.first_rate - self.last_rate) * cosine)


class Trainer:
    """Owns the model, the optimizer, the draw of the data and the time spent."""

    def __init__(self, corpus: Corpus, schedule: Schedule, *, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self._corpus = corpus
        self._schedule = schedule
        self._device = device
        self._rng = np.random.default_rng(seed)
        self.model = DemoWhisper().to(device)
        self._optimizer = torch.optim.AdamW(_parameter_groups(self.model), lr=schedule.first_rate, betas=_BETAS)
        self._step = 0
        self._elapsed = 0.0

    def resume(self, checkpoint: Path) -> None:
        """Go on where a checkpoint was written, in data, time and learning rate."""
        # Written by save() below: tensors and plain values only.
        state = torch.load(checkpoint, map_location=self._device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rng.bit_generator.state = state["rng"]
        self._step, self._elapsed = state["step"], state["elapsed"]

    def save(self, checkpoint: Path) -> None:
        """Write a checkpoint; an older one stays whole until the new one is."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rng": self._rng.bit_generator.state,
            "step": self._step,
            "elapsed": self._elapsed,
            "phases": [asdict(phase) for phase in self._schedule.phases],
        }
        partial = checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(checkpoint)

    def run(self, checkpoint: Path) -> None:
        """Train until the schedule's time is spent."""
        saved = reported = self._elapsed
        recent: list[Loss] = []
        while self._elapsed < self._schedule.total:
            began = time.monotonic()
            recent.append(self._learn(self._schedule.phase(self._elapsed)))
            self._elapsed += time.monotonic() - began
            if self._elapsed - reported >= self._schedule.report_seconds:
                self._report(recent)
                reported, recent = self._elapsed, []
            if self._elapsed - saved >= self._schedule.save_seconds:
                self.save(checkpoint)
                saved = self._elapsed
        if recent:
            self._report(recent)
        self.save(checkpoint)

    def _learn(self, phase: Phase) -> Loss:
        with torch.no_grad():
            batch = draw_batch(self._corpus, self._rng, phase.batch, phase.seconds, long_prompts=phase.long_prompts).to(
                self._device
            )
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate(self._elapsed, self._step)
        loss = measure(self.model, batch, phase.sigma)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.total)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        self._optimizer.step()
        self._step += 1
        return loss

    def _report(self, losses: Sequence[Loss]) -> None:
        figures = {
            "loss": [float(loss.total.detach()) for loss in losses],
            "words": [loss.word_accuracy for loss in losses],
            "timestamps": [loss.timestamp_accuracy for loss in losses],
            "frames": [loss.frame_accuracy for loss in losses],
        }
        means = " ".join(f"{name} {np.nanmean(values):.3f}" for name, values in figures.items())
        rate = self._schedule.rate(self._elapsed, self._step)
        print(f"{self._elapsed / 60:6.1f} min, step {self._step}, rate {rate:.1e}: {means}", flush=True)


def _parameter_groups(model: DemoWhisper) -> list[dict[str, Any]]:
    undecayed = model.undecayed()
    known = {id(parameter) for parameter in undecayed}
    decayed = [parameter for parameter in model.parameters() if id(parameter) not in known]
    return [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": undecayed, "weight_decay": 0.0}]
