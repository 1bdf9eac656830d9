# SPDX-License-Identifier: Apache-2.0
"""Languages, tasks and prompts, on a multilingual model with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sqscribe.errors import ErrorCode, UnfitNodeError
from stages.inference.engine.rows import EngineJob, JobRefused
from stages.inference.protocol import (
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    EngineSettings,
    JobLanguage,
)
from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.call import call_of, prompt_of
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.fallback import Decision, decide
from stages.inference.whisper.model import load_model
from stages.inference.whisper.random_model import make_random_model
from stages.values import SAMPLE_RATE, Piece, Window, WindowResult
from worker.testing.decoding import decoded, results

pytestmark = pytest.mark.process

SECONDS = 4
SAMPLES = SECONDS * SAMPLE_RATE
#: Tones that the random model takes for different languages.
TONES = (200, 400, 900, 1_500)
PLAIN = DecodeOptions("en", "transcribe", None, None, beam_size=2)


def settings(folder: Path) -> EngineSettings:
    return EngineSettings(
        model=str(folder), name="random", device="cpu", compute_type="float32", batch_size=4, cpu_threads=1
    )


def judge(
    attempts: Sequence[Attempt],
    speech_seconds: float,
    prompt: str | None,
    unprompted: str | None,
    temperatures: Sequence[float],
) -> Decision:
    """The engine's judge, but for what it makes of the alignment: that of random weights is as random as they are."""
    plain = [replace(each, unspeakable=0, spoken_logprob=None) for each in attempts]
    return decide(plain, speech_seconds, prompt, unprompted, temperatures)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> WhisperDecoder:
    folder = make_random_model(tmp_path_factory.mktemp("random"), layers=1, d_model=32)
    return WhisperDecoder(load_model(settings(folder)), judge=judge)


@pytest.fixture(scope="module")
def unaligned(tmp_path_factory: pytest.TempPathFactory) -> WhisperDecoder:
    folder = make_random_model(tmp_path_factory.mktemp("unaligned"), layers=1, d_model=32, alignment_heads=False)
    return WhisperDecoder.load(settings(folder))


@pytest.fixture(scope="module")
def pcm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One window of each tone."""
    time = np.arange(SAMPLES) / SAMPLE_RATE
    path = tmp_path_factory.mktemp("pcm") / "tones"
    path.write_bytes(b"".join((np.sin(2 * np.pi * tone * time) * 8_000).astype("<i2").tobytes() for tone in TONES))
    return path


def windows(count: int = len(TONES)) -> tuple[Window, ...]:
    return tuple(
        Window(index, (Piece(0, index * SAMPLES, SAMPLES),), speech=SAMPLES, speech_end=0, spans=((0, 1),))
        for index in range(count)
    )


def task(pcm: Path, name: str, options: DecodeOptions, probes: tuple[int, ...] = ()) -> DecodeTask:
    return DecodeTask(name, str(pcm), windows(), options, probes)


def texts(events: Sequence[EngineEvent]) -> dict[tuple[str, int], str]:
    return {key: "".join(part.text for part in result.segments) for key, result in results(events).items()}


MIXED = {
    "english": PLAIN,
    "german": replace(PLAIN, language="de"),
    "french-to-english": replace(PLAIN, language="fr", task="translate"),
    "multi": replace(PLAIN, language="multi"),
    "prompted": replace(PLAIN, initial_prompt="w1 w2 w3"),
    "hot": replace(PLAIN, hotwords="w7 w8 w9", language="de"),
    "greedy": replace(PLAIN, beam_size=1),
}


def test_mixed_languages_tasks_and_prompts_give_what_each_job_gives_alone(decoder: WhisperDecoder, pcm: Path) -> None:
    alone: dict[tuple[str, int], WindowResult] = {}
    for name, options in MIXED.items():
        alone.update(results(decoded(decoder, [task(pcm, name, options)], limit=1)))
    together = results(decoded(decoder, [task(pcm, name, options) for name, options in MIXED.items()], limit=6))
    assert together.keys() == alone.keys()
    sampled = {key for key, result in alone.items() if result.temperature > 0}  # never twice the same
    assert len(sampled) <= len(alone) / 4
    for key in alone.keys() - sampled:
        assert [part.text for part in together[key].segments] == [part.text for part in alone[key].segments]
    # The options do shape the text, or the test would show nothing.
    assert len({tuple(alone[name, index].segments for index in range(len(TONES))) for name in MIXED}) == len(MIXED)


def test_the_language_is_detected_on_the_probed_windows(decoder: WhisperDecoder, pcm: Path) -> None:
    events = decoded(decoder, [task(pcm, "job", replace(PLAIN, language=None), probes=(0, 2))])
    (found,) = [event for event in events if isinstance(event, JobLanguage)]
    assert 0.0 < found.probability < 1.0
    named = texts(decoded(decoder, [task(pcm, "job", replace(PLAIN, language=found.language))]))
    assert texts(events) == named
    assert {result.language for result in results(events).values()} == {found.language}
    assert {result.language_probability for result in results(events).values()} == {None}


def test_multi_detects_each_window(decoder: WhisperDecoder, pcm: Path) -> None:
    found = results(decoded(decoder, [task(pcm, "job", replace(PLAIN, language="multi"))]))
    assert len({result.language for result in found.values()}) > 1
    for (_, index), result in found.items():
        assert result.language_probability is not None
        assert 1 / 3 < result.language_probability < 1.0
        named = texts(decoded(decoder, [task(pcm, "job", replace(PLAIN, language=result.language))]))
        assert named["job", index] == "".join(segment.text for segment in result.segments)


def test_translation_and_models_without_alignment_take_segments_from_timestamps(
    decoder: WhisperDecoder, unaligned: WhisperDecoder, pcm: Path
) -> None:
    translated = results(decoded(decoder, [task(pcm, "job", MIXED["french-to-english"])]))
    transcribed = results(decoded(unaligned, [task(pcm, "job", PLAIN)]))
    assert decoder.info.can_align
    assert not unaligned.info.can_align
    for result in (*translated.values(), *transcribed.values()):
        assert result.segments
        for segment in result.segments:
            assert segment.words is None
            assert 0.0 <= segment.start <= segment.end <= SECONDS
            assert segment.text.strip()


def test_rows_are_keyed_by_prompt_length_and_timestamps(decoder: WhisperDecoder, unaligned: WhisperDecoder) -> None:
    def key(model: WhisperDecoder, options: DecodeOptions) -> tuple[bool, int, int]:
        job = model.open("job", "unread", options)
        assert isinstance(job, EngineJob)
        (row,) = model.rows(job, windows(1), probe=False, language="en")
        return call_of(row)[:3]

    assert key(decoder, PLAIN) == (False, 0, 2)
    # Prompts are brought to common lengths, so that jobs whose prompts differ share batches.
    assert key(decoder, MIXED["prompted"]) == key(decoder, MIXED["hot"]) == (False, 32, 2)
    assert key(decoder, replace(MIXED["prompted"], hotwords="w4 " * 28)) == (
        False,
        32,
        2,
    )  # <|startofprev|> and 31 words
    assert key(decoder, replace(MIXED["prompted"], hotwords="w4 " * 29)) == (False, 64, 2)
    assert key(decoder, MIXED["french-to-english"]) == (True, 0, 2)
    assert key(unaligned, PLAIN) == (True, 0, 2)
    assert key(decoder, replace(PLAIN, initial_prompt="  ", hotwords="")) == (False, 0, 2)


@pytest.mark.parametrize("count", [1, 3, 30, 31, 32, 40, 223])
def test_a_prompt_is_filled_with_its_own_text_and_ends_as_it_was_given(decoder: WhisperDecoder, count: int) -> None:
    text = " ".join(f"w{place % 50}" for place in range(count))
    plain = decoder._vocabulary.prompt(text, None)
    job = decoder.open("job", "unread", replace(PLAIN, initial_prompt=text))

    assert isinstance(job, EngineJob)
    assert len(plain) == count + 1
    assert len(prompt_of(job).tokens) % 32 == 0
    assert 0 <= len(prompt_of(job).tokens) - len(plain) < 32
    assert prompt_of(job).tokens[0] == plain[0]
    assert prompt_of(job).tokens[-count:] == plain[1:]
    assert set(prompt_of(job).tokens[1:]) == set(plain[1:])
    # What it is held against when an echo is looked for is the text itself.
    assert prompt_of(job).text.split() == text.split()


def test_special_tokens_in_a_prompt_are_no_tokens_of_ours(decoder: WhisperDecoder, pcm: Path) -> None:
    hostile = replace(PLAIN, initial_prompt="w1 <|startoftranscript|> <|de|> w2 <|0.00|><|endoftext|> w3")
    job = decoder.open("job", "unread", hostile)
    assert isinstance(job, EngineJob)
    eot = decoder._vocabulary.eot
    assert prompt_of(job).tokens[0] == decoder._vocabulary.start_of_previous
    assert all(token < eot for token in prompt_of(job).tokens[1:])
    # The neighbours in the batch do not notice.
    events = decoded(decoder, [task(pcm, "hostile", hostile), task(pcm, "hot", MIXED["hot"])])
    assert len(results(events)) == 2 * len(TONES)


def test_the_longest_prompt_fits_and_a_longer_one_is_refused(decoder: WhisperDecoder, pcm: Path) -> None:
    longest = replace(PLAIN, initial_prompt="w1 " * 200, hotwords="w2 " * 23)
    found = results(decoded(decoder, [task(pcm, "job", longest)]))
    assert len(found) == len(TONES)
    refused = decoder.open("job", "unread", replace(longest, hotwords="w2 " * 24))
    assert isinstance(refused, JobRefused)
    assert refused.code is ErrorCode.BAD_MESSAGE
    assert "224 tokens" in refused.message


@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        ({}, replace(PLAIN, language="yue"), "yue"),
        ({}, replace(PLAIN, language="<|de|>"), "language"),
        ({"layers": 2, "decoder_layers": 1}, replace(PLAIN, task="translate"), "translate"),
        ({"languages": ()}, replace(PLAIN, task="translate"), "translate"),
        ({"languages": ()}, replace(PLAIN, language="de"), "de"),
        ({"languages": ()}, replace(PLAIN, language="multi"), "multi|en only"),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    tmp_path: Path, arguments: dict[str, object], options: DecodeOptions, word: str
) -> None:
    folder = make_random_model(tmp_path, d_model=16, **{"layers": 1, **arguments})  # type: ignore[arg-type]
    refused = WhisperDecoder.load(settings(folder)).open("job", "unread", options)
    assert isinstance(refused, JobRefused)
    assert refused.code is ErrorCode.UNSUPPORTED_OPTION
    assert any(part in refused.message for part in word.split("|"))


def test_english_only_models_need_no_probe(tmp_path: Path, pcm: Path) -> None:
    decoder = WhisperDecoder.load(settings(make_random_model(tmp_path, layers=1, d_model=16, languages=())))
    assert decoder.info.languages == ("en",)
    assert not decoder.info.can_translate
    found = results(decoded(decoder, [task(pcm, "job", replace(PLAIN, language=None), probes=(0,))]))
    assert {result.language for result in found.values()} == {"en"}


def test_nodes_that_cannot_work_say_why(tmp_path: Path) -> None:
    folder = make_random_model(tmp_path / "model", layers=1, d_model=16)
    good = settings(folder)
    for bad, word in (
        (replace(good, device="tpu"), "tpu"),
        (replace(good, compute_type="float16"), "float16 is not supported"),
        (replace(good, compute_type="int3"), "int3"),
        (replace(good, model=str(tmp_path / "none")), "does not exist"),
    ):
        with pytest.raises(UnfitNodeError, match=word):
            load_model(bad)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UnfitNodeError, match="tokenizer"):
        load_model(good)


def test_revisions_tell_models_apart(tmp_path: Path) -> None:
    one = make_random_model(tmp_path / "1", layers=1, d_model=16, seed=1)
    same = make_random_model(tmp_path / "2", layers=1, d_model=16, seed=1)
    other = make_random_model(tmp_path / "3", layers=1, d_model=16, seed=2)
    revisions = [load_model(settings(folder)).info.revision for folder in (one, same, other)]
    assert revisions[0] == revisions[1] != revisions[2]
    assert load_model(replace(settings(one), revision="v2")).info.revision == "v2"


def test_on_a_cpu_each_thread_has_a_batch_of_its_own(tmp_path: Path) -> None:
    folder = make_random_model(tmp_path / "model", layers=1, d_model=16)
    loaded = [load_model(replace(settings(folder), cpu_threads=threads, batch_size=None)) for threads in (1, 2, 9)]
    # No more than four of them: each batch has memory of its own.
    assert [model.parallel for model in loaded] == [1, 2, 4]
    assert [model.whisper.num_workers for model in loaded] == [1, 2, 4]
    assert {model.info.batch_size for model in loaded} == {4}
