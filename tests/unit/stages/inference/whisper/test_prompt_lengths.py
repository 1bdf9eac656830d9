# SPDX-License-Identifier: Apache-2.0
"""Prompts of other jobs are brought to common lengths, so that their rows share batches."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from stages.inference.engine.pool import Pool
from stages.inference.engine.rows import EngineJob, Row
from stages.inference.protocol import DecodeOptions
from stages.inference.whisper.call import Call, Prompt
from stages.inference.whisper.vocabulary import MAX_PROMPT_TOKENS, padded
from stages.values import Piece, Window

PREVIOUS = 50_361
BATCH = 16


@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=MAX_PROMPT_TOKENS))
def test_a_prompt_is_filled_with_its_own_text_and_ends_as_it_was_written(text: list[int]) -> None:
    prompt = padded((PREVIOUS, *text))

    assert len(prompt) % 32 == 0
    assert len(prompt) - 1 <= MAX_PROMPT_TOKENS
    assert prompt[0] == PREVIOUS
    assert list(prompt[-len(text) :]) == text
    assert set(prompt[1:]) == set(text)


def test_no_prompt_stays_none() -> None:
    assert padded(()) == ()


def test_fifty_lists_of_hotwords_on_two_hundred_clips_fill_batches_nearly_as_none_do() -> None:
    # Given 200 clips that share 50 lists of 2 to 20 hotwords, of one to four tokens each
    dice = random.Random(7)
    lists = [[dice.randrange(50_000) for _ in range(dice.randint(2, 20)) for _ in range(dice.randint(1, 4))]
             for _ in range(50)]  # fmt: skip

    # When their rows are dealt out in full batches
    without = _fill([()] * 200)
    unpadded = _fill([(PREVIOUS, *lists[clip % 50]) for clip in range(200)])
    with_lists = _fill([padded((PREVIOUS, *lists[clip % 50])) for clip in range(200)])

    # Then the batches are at least 0.8 as full as without hotwords, which they are not if prompts stay as they are
    assert with_lists >= 0.8 * without
    assert unpadded < 0.5 * without


def _fill(prompts: Sequence[tuple[int, ...]]) -> float:
    """Rows of a batch, of those that it has room for, when there is one row a prompt."""
    pool, batches = Pool(1.0), 0
    for index, prompt in enumerate(prompts):
        pool.add(_row(f"job-{index}", prompt), ahead=False)
    while pool.take(BATCH, 0.0, idle=True):
        batches += 1
    return len(prompts) / (BATCH * batches)


def _row(name: str, prompt: tuple[int, ...]) -> Row:
    options = DecodeOptions(language="en", task="transcribe", initial_prompt=None, hotwords=None, beam_size=5)
    key = Call(timestamps=False, prompt_tokens=len(prompt), beam_size=5, temperature=0.0).key
    return Row(
        EngineJob(name, "", options, Prompt(prompt, "")), Window(0, (Piece(0, 0, 16_000),), 16_000, 16_000), key, "en"
    )
