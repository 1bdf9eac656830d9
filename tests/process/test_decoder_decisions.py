# SPDX-License-Identifier: Apache-2.0
"""What the decoder does with what a model says: tries again, in parts, without the prompt, or does not believe it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.inference.engine.rows import Again, EngineJob, Finished, Row
from stages.inference.protocol import DecodeOptions, DecodeTask, EngineSettings
from stages.inference.whisper.aligner import Aligned, Spoken
from stages.inference.whisper.attempt import Attempt
from stages.inference.whisper.call import call_of
from stages.inference.whisper.decoder import WhisperDecoder
from stages.inference.whisper.encoder import Encoded
from stages.inference.whisper.model import load_model
from stages.inference.whisper.random_model import make_random_model
from stages.values import SAMPLE_RATE, Piece, RawWord, Window
from worker.testing.decoding import decoded, results

pytestmark = pytest.mark.process

SECONDS = 4
SAMPLES = SECONDS * SAMPLE_RATE
PLAIN = DecodeOptions("en", "transcribe", None, None, beam_size=2)


@pytest.fixture(scope="module")
def pcm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tone, long enough for three windows."""
    time = np.arange(3 * SAMPLES) / SAMPLE_RATE
    path = tmp_path_factory.mktemp("pcm") / "tone"
    path.write_bytes((np.sin(2 * np.pi * 400 * time) * 8_000).astype("<i2").tobytes())
    return path


def windows(count: int = 3) -> tuple[Window, ...]:
    return tuple(
        Window(index, (Piece(0, index * SAMPLES, SAMPLES),), speech=SAMPLES, speech_end=0, spans=((0, 1),))
        for index in range(count)
    )


def task(pcm: Path, options: DecodeOptions) -> DecodeTask:
    return DecodeTask("job", str(pcm), windows(), options)


class Script:
    """Stands for the model: texts as they are written here, their words spread evenly over the audio.

    Args:
        answer: What the model says to a row.
    """

    def __init__(self, answer: Callable[[Row], Attempt]) -> None:
        self._answer = answer

    def attempts(self, rows: Sequence[Row]) -> list[Attempt]:
        return [self._answer(row) for row in rows]

    def align(self, rows: Sequence[Spoken]) -> list[Aligned]:
        return [self._spread(row) for row in rows]

    def _spread(self, row: Spoken) -> Aligned:
        step = row.seconds / max(len(row.tokens), 1)
        words = tuple(
            RawWord(f" w{token}", place * step, (place + 1) * step, 0.9) for place, token in enumerate(row.tokens)
        )
        return Aligned(words, words, -0.2)


def scripted(folder: Path, answer: Callable[[Row], Attempt]) -> WhisperDecoder:
    """The real decoder with the model's answers replaced, so that retries can be brought about."""
    decoder = WhisperDecoder(
        load_model(
            EngineSettings(
                model=str(folder), name="random", device="cpu", compute_type="float32", batch_size=4, cpu_threads=1
            )
        )
    )
    script = Script(answer)
    decoder._generator = script  # type: ignore[assignment]
    decoder._aligner = script  # type: ignore[assignment]
    return decoder


def attempt(row: Row, text: str = " w1 w2", logprob: float = -0.2, tokens: tuple[int, ...] = (2, 3)) -> Attempt:
    return Attempt(tokens, text, logprob, 1.0, 0.0, call_of(row).temperature, truncated=False)


def test_a_row_that_goes_round_again_keeps_its_encoder_output(tmp_path: Path, pcm: Path) -> None:
    folder = make_random_model(tmp_path, layers=1, d_model=16)
    decoder = scripted(folder, lambda row: attempt(row, logprob=-0.5 if call_of(row).temperature >= 0.4 else -2.0))
    job = decoder.open("job", str(pcm), replace(PLAIN, initial_prompt="w9"))
    assert isinstance(job, EngineJob)
    rows = decoder.rows(job, windows(1), probe=False, language="de")

    (first,) = decoder.run(rows)
    assert isinstance(first, Again)
    (row,) = first.rows
    call = call_of(row)
    assert (first.reason, call.temperature, call.beam_size, call.prompt_tokens) == ("logprob", 0.2, 1, 32)
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
    decoder = scripted(make_random_model(tmp_path, layers=1, d_model=16), lambda row: attempt(row, logprob=-2.0))
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
    decoder = scripted(folder, lambda row: attempt(row, prompt if call_of(row).prompt_tokens else " w6"))
    events = decoded(decoder, [task(pcm, replace(PLAIN, initial_prompt=prompt))])
    for result in results(events).values():
        assert (result.dropped, result.retries) == (None, ("prompt_echo",))


def test_a_loop_over_little_speech_is_dropped_in_the_end(tmp_path: Path, pcm: Path) -> None:
    folder = make_random_model(tmp_path, layers=1, d_model=16)
    decoder = scripted(folder, lambda row: attempt(row, "thank you " * 30))
    events = decoded(decoder, [task(pcm, replace(PLAIN, hotwords="w1"))])
    for result in results(events).values():
        assert (result.dropped, result.segments) == ("repetition", ())
        assert Counter(result.retries) == {"repetition": 6}  # once for the prompt, then every temperature


def spoken_window() -> Window:
    """The first window, with speech all through."""
    (window,) = windows(1)
    return replace(window, speech_end=SAMPLES, spans=((0, SAMPLES),))


def test_a_text_that_leaves_speech_out_is_decoded_in_halves(tmp_path: Path, pcm: Path) -> None:
    # Given a model that hears one word in the whole window, and eight in each half
    def answer(row: Row) -> Attempt:
        return attempt(row, tokens=(2,) if row.window.samples == SAMPLES else tuple(range(2, 10)))

    decoder = scripted(make_random_model(tmp_path, layers=1, d_model=16), answer)
    # When it is transcribed
    events = decoded(decoder, [DecodeTask("job", str(pcm), (spoken_window(),), PLAIN)])
    # Then the halves' words stand, at their places in the window
    (result,) = results(events).values()
    words = [word for segment in result.segments for word in segment.words or ()]
    assert result.retries == ("incomplete",)
    assert result.missing == ()
    assert len(words) == 16
    assert words[8].start == pytest.approx(SECONDS / 2, abs=0.5)
    assert [word.start for word in words] == sorted(word.start for word in words)


def test_a_prompt_that_costs_words_is_taken_away(tmp_path: Path, pcm: Path) -> None:
    # Given a model that hears one word with a prompt and all of them without
    def answer(row: Row) -> Attempt:
        return attempt(row, tokens=(2,) if call_of(row).prompt_tokens else tuple(range(2, 14)))

    decoder = scripted(make_random_model(tmp_path, layers=1, d_model=16), answer)
    # When it is transcribed
    events = decoded(decoder, [DecodeTask("job", str(pcm), (spoken_window(),), replace(PLAIN, initial_prompt="w1"))])
    # Then it is decoded once more, and nothing is missing
    (result,) = results(events).values()
    assert result.retries == ("incomplete",)
    assert result.missing == ()
    assert sum(len(segment.words or ()) for segment in result.segments) == 12


def test_speech_that_no_decode_finds_words_for_is_told(tmp_path: Path, pcm: Path) -> None:
    # Given a model that hears nothing in four seconds of speech, nor in their halves
    decoder = scripted(make_random_model(tmp_path, layers=1, d_model=16), lambda row: attempt(row, "", tokens=()))
    # When it is transcribed
    events = decoded(decoder, [DecodeTask("job", str(pcm), (spoken_window(),), PLAIN)])
    # Then all of it is missing
    (result,) = results(events).values()
    assert result.retries == ("incomplete",)
    assert result.segments == ()
    assert sum(end - start for start, end in result.missing) == pytest.approx(SECONDS)


def test_words_that_are_too_fast_to_be_spoken_are_left_out(tmp_path: Path, pcm: Path) -> None:
    # Given a model that gives eighty words to four seconds, at whatever temperature
    decoder = scripted(
        make_random_model(tmp_path, layers=1, d_model=16), lambda row: attempt(row, tokens=tuple(range(2, 82)))
    )
    # When it is transcribed
    events = decoded(decoder, [DecodeTask("job", str(pcm), windows(1), PLAIN)])
    # Then nothing of it stands, and it was tried again
    (result,) = results(events).values()
    assert result.retries == ("pace",) * 5
    assert result.segments == ()


def test_a_model_that_stops_at_a_timestamp_is_asked_for_the_rest(tmp_path: Path, pcm: Path) -> None:
    # Given a model that finishes a sentence of 1.24 s wherever it begins, and four seconds of speech
    folder = make_random_model(tmp_path, layers=1, d_model=16, alignment_heads=False)
    decoder = scripted(folder, lambda row: attempt(row, tokens=()))
    first = decoder._vocabulary.first_timestamp
    decoder._generator = Script(  # type: ignore[assignment]
        lambda row: attempt(row, tokens=(first, 2, 3, 4, 5, first + 62, first + 62))
    )
    # When it is transcribed
    events = decoded(decoder, [DecodeTask("job", str(pcm), (spoken_window(),), PLAIN)])
    # Then the sentences follow each other without a gap, on the window's clock
    (result,) = results(events).values()
    assert result.retries == ("rest", "rest")
    times = [time for segment in result.segments for time in (segment.start, segment.end)]
    assert times == pytest.approx([0.0, 1.24, 1.24, 2.48, 2.48, 3.72])


def test_text_away_from_all_speech_is_doubted_and_in_silence_dropped(tmp_path: Path, pcm: Path) -> None:
    # Given a model that always says something, and windows in which the detector heard nothing: a tone, and silence
    (tmp_path / "silence").write_bytes(bytes(2 * SAMPLES))
    decoder = scripted(make_random_model(tmp_path / "model", layers=1, d_model=16), attempt)
    unspoken = replace(windows(1)[0], spans=())
    # When they are transcribed
    tone, silence = (
        results(decoded(decoder, [DecodeTask("job", str(path), (unspoken,), PLAIN)]))["job", 0]
        for path in (pcm, tmp_path / "silence")
    )
    # Then the one's text is not trusted, and the other's not believed
    assert [segment.suspect for segment in tone.segments] == ["no_speech"]
    assert (silence.dropped, silence.segments) == ("silence", ())
