# SPDX-License-Identifier: Apache-2.0
"""Languages, tasks and prompts, on a multilingual model with random weights."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sqscribe.errors import ErrorCode, UnfitNodeError
from stages.inference.engine.rows import Again, EngineJob, Finished, Rejected, Row
from stages.inference.engine.scheduler import Scheduler
from stages.inference.protocol import (
    DecodeOptions,
    DecodeTask,
    EngineEvent,
    EngineSettings,
    JobLanguage,
    Progress,
    WindowDone,
)
from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.encoder import Encoded
from stages.inference.whisper.model import load_model
from stages.inference.whisper.random_model import make_random_model
from stages.values import SAMPLE_RATE, Piece, Window, WindowResult

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


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> WhisperDecoder:
    return WhisperDecoder.load(settings(make_random_model(tmp_path_factory.mktemp("random"), layers=1, d_model=32)))


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
        Window(index, (Piece(0, index * SAMPLES, SAMPLES),), speech=SAMPLES, speech_end=0) for index in range(count)
    )


def task(pcm: Path, name: str, options: DecodeOptions, probes: tuple[int, ...] = ()) -> DecodeTask:
    return DecodeTask(name, str(pcm), windows(), options, probes)


def run(decoder: WhisperDecoder, tasks: Sequence[DecodeTask], limit: int = 4) -> list[EngineEvent]:
    events: list[EngineEvent | Progress] = []
    scheduler = Scheduler(decoder, events.append, retry_seconds=0.0)
    for item in tasks:
        scheduler.add(item)
    while batch := scheduler.take(limit, timeout=0.0):
        scheduler.give(batch, decoder.run(batch.rows))
    return [event for event in events if not isinstance(event, Progress)]


def results(events: Sequence[EngineEvent]) -> dict[tuple[str, int], WindowResult]:
    return {(event.job, event.result.index): event.result for event in events if isinstance(event, WindowDone)}


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
        alone.update(results(run(decoder, [task(pcm, name, options)], limit=1)))
    together = results(run(decoder, [task(pcm, name, options) for name, options in MIXED.items()], limit=6))
    assert together.keys() == alone.keys()
    sampled = {key for key, result in alone.items() if result.temperature > 0}  # never twice the same
    assert len(sampled) <= len(alone) / 4
    for key in alone.keys() - sampled:
        assert [part.text for part in together[key].segments] == [part.text for part in alone[key].segments]
    # The options do shape the text, or the test would show nothing.
    assert len({tuple(alone[name, index].segments for index in range(len(TONES))) for name in MIXED}) == len(MIXED)


def test_the_language_is_detected_on_the_probed_windows(decoder: WhisperDecoder, pcm: Path) -> None:
    events = run(decoder, [task(pcm, "job", replace(PLAIN, language=None), probes=(0, 2))])
    (found,) = [event for event in events if isinstance(event, JobLanguage)]
    assert 0.0 < found.probability < 1.0
    named = texts(run(decoder, [task(pcm, "job", replace(PLAIN, language=found.language))]))
    assert texts(events) == named
    assert {result.language for result in results(events).values()} == {found.language}
    assert {result.language_probability for result in results(events).values()} == {None}


def test_multi_detects_each_window(decoder: WhisperDecoder, pcm: Path) -> None:
    found = results(run(decoder, [task(pcm, "job", replace(PLAIN, language="multi"))]))
    assert len({result.language for result in found.values()}) > 1
    for (_, index), result in found.items():
        assert result.language_probability is not None
        assert 1 / 3 < result.language_probability < 1.0
        named = texts(run(decoder, [task(pcm, "job", replace(PLAIN, language=result.language))]))
        assert named["job", index] == "".join(segment.text for segment in result.segments)


def test_translation_and_models_without_alignment_take_segments_from_timestamps(
    decoder: WhisperDecoder, unaligned: WhisperDecoder, pcm: Path
) -> None:
    translated = results(run(decoder, [task(pcm, "job", MIXED["french-to-english"])]))
    transcribed = results(run(unaligned, [task(pcm, "job", PLAIN)]))
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
        return row.key.timestamps, row.key.prompt_tokens, row.key.beam_size

    assert key(decoder, PLAIN) == (False, 0, 2)
    assert key(decoder, MIXED["prompted"]) == (False, 4, 2)  # <|startofprev|> and three words
    assert key(decoder, replace(MIXED["prompted"], hotwords="w4")) == (False, 5, 2)
    assert key(decoder, MIXED["french-to-english"]) == (True, 0, 2)
    assert key(unaligned, PLAIN) == (True, 0, 2)
    assert key(decoder, replace(PLAIN, initial_prompt="  ", hotwords="")) == (False, 0, 2)


def test_special_tokens_in_a_prompt_are_no_tokens_of_ours(decoder: WhisperDecoder, pcm: Path) -> None:
    hostile = replace(PLAIN, initial_prompt="w1 <|startoftranscript|> <|de|> w2 <|0.00|><|endoftext|> w3")
    job = decoder.open("job", "unread", hostile)
    assert isinstance(job, EngineJob)
    eot = decoder._vocabulary.eot
    assert job.prompt[0] == decoder._vocabulary.start_of_previous
    assert all(token < eot for token in job.prompt[1:])
    # The neighbours in the batch do not notice.
    events = run(decoder, [task(pcm, "hostile", hostile), task(pcm, "hot", MIXED["hot"])])
    assert len(results(events)) == 2 * len(TONES)


def test_the_longest_prompt_fits_and_a_longer_one_is_refused(decoder: WhisperDecoder, pcm: Path) -> None:
    longest = replace(PLAIN, initial_prompt="w1 " * 200, hotwords="w2 " * 23)
    found = results(run(decoder, [task(pcm, "job", longest)]))
    assert len(found) == len(TONES)
    refused = decoder.open("job", "unread", replace(longest, hotwords="w2 " * 24))
    assert isinstance(refused, Rejected)
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
    assert isinstance(refused, Rejected)
    assert refused.code is ErrorCode.UNSUPPORTED_OPTION
    assert any(part in refused.message for part in word.split("|"))


def test_english_only_models_need_no_probe(tmp_path: Path, pcm: Path) -> None:
    decoder = WhisperDecoder.load(settings(make_random_model(tmp_path, layers=1, d_model=16, languages=())))
    assert decoder.info.languages == ("en",)
    assert not decoder.info.can_translate
    found = results(run(decoder, [task(pcm, "job", replace(PLAIN, language=None), probes=(0,))]))
    assert {result.language for result in found.values()} == {"en"}


class Scripted(WhisperDecoder):
    """The real decoder with the model's answers replaced, so that retries can be brought about."""

    def __init__(self, folder: Path, answer: Callable[[Row], Attempt]) -> None:
        super().__init__(load_model(settings(folder)))
        self._answer = answer

    def _generate(self, rows: Sequence[Row]) -> list[Attempt]:
        return [self._answer(row) for row in rows]


def attempt(row: Row, text: str = " w1 w2", logprob: float = -0.2) -> Attempt:
    return Attempt((2, 3), text, logprob, 1.0, 0.0, row.key.temperature, truncated=False)


def test_a_row_that_goes_round_again_keeps_its_encoder_output(tmp_path: Path, pcm: Path) -> None:
    folder = make_random_model(tmp_path, layers=1, d_model=16)
    decoder = Scripted(folder, lambda row: attempt(row, logprob=-0.5 if row.key.temperature >= 0.4 else -2.0))
    job = decoder.open("job", str(pcm), replace(PLAIN, initial_prompt="w9"))
    assert isinstance(job, EngineJob)
    rows = decoder.rows(job, windows(1), probe=False, language="de")

    (first,) = decoder.run(rows)
    assert isinstance(first, Again)
    (row,) = first.rows
    assert (first.reason, row.key.temperature, row.key.beam_size, row.key.prompt_tokens) == ("logprob", 0.2, 1, 2)
    encoded = row.encoded
    assert encoded is not None
    (second,) = decoder.run([row])
    assert isinstance(second, Again)
    (row,) = second.rows
    assert row.encoded.output.equal(encoded.output)
    (last,) = decoder.run([row])

    assert isinstance(last, Finished)
    assert (last.result.temperature, last.result.avg_logprob) == (0.4, -0.5)
    assert last.result.retries == ("logprob", "logprob")


def test_rows_of_a_batch_that_ran_out_of_memory_are_fit_for_another_try(
    tmp_path: Path, pcm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given rows that all have to be retried, the copy of the last of which does not fit
    decoder = Scripted(make_random_model(tmp_path, layers=1, d_model=16), lambda row: attempt(row, logprob=-2.0))
    job = decoder.open("job", str(pcm), PLAIN)
    assert isinstance(job, EngineJob)
    rows = decoder.rows(job, windows(3), probe=False, language="de")
    copies = Encoded.alone
    count = itertools.count(1)

    def alone(encoded: Encoded) -> Encoded:
        if next(count) == 3:
            raise RuntimeError("CUDA out of memory")
        return copies(encoded)

    monkeypatch.setattr(Encoded, "alone", alone)
    before = [(row.key, row.state) for row in rows]
    with pytest.raises(RuntimeError, match="out of memory"):
        decoder.run(rows)
    decoder.relieve()

    # Then nothing of that try is to be seen in the next one
    assert [(row.key, row.state) for row in rows] == before
    outcomes = [outcome for part in (rows[:1], rows[1:]) for outcome in decoder.run(part)]
    assert [type(outcome) for outcome in outcomes] == [Again] * 3
    assert [row.state.retries for row in rows] == [("logprob",)] * 3


def test_an_echo_of_the_prompt_is_decoded_again_without_it(tmp_path: Path, pcm: Path) -> None:
    prompt = "w1 w2 w3 w4 w5"
    folder = make_random_model(tmp_path, layers=1, d_model=16)
    decoder = Scripted(folder, lambda row: attempt(row, prompt if row.key.prompt_tokens else " w6"))
    events = run(decoder, [task(pcm, "job", replace(PLAIN, initial_prompt=prompt))])
    for result in results(events).values():
        assert (result.dropped, result.retries) == (None, ("prompt_echo",))


def test_a_loop_over_little_speech_is_dropped_in_the_end(tmp_path: Path, pcm: Path) -> None:
    folder = make_random_model(tmp_path, layers=1, d_model=16)
    decoder = Scripted(folder, lambda row: attempt(row, "thank you " * 30))
    events = run(decoder, [task(pcm, "job", replace(PLAIN, hotwords="w1"))])
    for result in results(events).values():
        assert (result.dropped, result.segments) == ("repetition", ())
        assert Counter(result.retries) == {"repetition": 6}  # once for the prompt, then every temperature


def test_a_text_that_ends_early_is_decoded_in_halves(tmp_path: Path, pcm: Path) -> None:
    folder = make_random_model(tmp_path, layers=1, d_model=16, alignment_heads=False)
    decoder = Scripted(folder, lambda row: attempt(row, ""))
    decoder._timed = lambda attempt, seconds: ()  # type: ignore[method-assign]
    (long,) = windows(1)
    long = replace(long, speech_end=SAMPLES)
    events = run(decoder, [DecodeTask("job", str(pcm), (long,), PLAIN)])
    (result,) = results(events).values()
    assert result.retries == ("ended_early",)
    assert result.segments == ()


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
