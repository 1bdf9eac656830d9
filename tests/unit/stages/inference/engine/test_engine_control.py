# SPDX-License-Identifier: Apache-2.0
"""The engine's check of itself, on a simulated device."""

from __future__ import annotations

import wave
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqscribe.errors import EngineBrokenError
from stages.inference.engine import control
from stages.inference.engine.comparison import Comparison
from stages.inference.protocol import ControlClip, EngineSettings
from worker.testing.decoder import SimulatedDecoder


def recording(path: Path, *, rate: int = 16_000, channels: int = 1, seconds: float = 1.0) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(2 * channels * int(rate * seconds)))
    return path


def check(model: str, path: Path, text: str, max_error_rate: float = 0.0) -> float:
    decoder = SimulatedDecoder.load(EngineSettings(model=model, name="simulated"))
    return control.check(decoder, ControlClip(str(path), text, max_error_rate), beam_size=5)


def test_the_right_words_pass_whatever_their_case_and_punctuation(tmp_path: Path) -> None:
    assert check("text=Hello,+there.+It's+me!", recording(tmp_path / "clip.wav"), "hello there it's me") == 0.0


def test_as_many_errors_pass_as_the_clip_allows(tmp_path: Path) -> None:
    clip = recording(tmp_path / "clip.wav")

    assert check("text=one+two+tree+four", clip, "one two three four", 0.25) == 0.25
    with pytest.raises(EngineBrokenError, match=r"'one two tree for' where 'one two three four' is said"):
        check("text=one+two+tree+for", clip, "one two three four", 0.25)


def test_an_empty_text_fails_however_many_errors_are_allowed(tmp_path: Path) -> None:
    with pytest.raises(EngineBrokenError, match="an empty text points to a driver"):
        check("silent=true", recording(tmp_path / "clip.wav"), "hello", max_error_rate=1.0)


def test_a_model_without_english_is_asked_for_the_language_first(tmp_path: Path) -> None:
    assert check("languages=de+fr&text=hallo", recording(tmp_path / "clip.wav"), "hallo") == 0.0


def test_another_text_fails_where_there_are_no_numbers_to_compare(tmp_path: Path) -> None:
    decoder = SimulatedDecoder.load(EngineSettings(model="text=hallo", name="simulated"))
    clip = ControlClip(str(recording(tmp_path / "clip.wav")), "hello", 0.5, must_understand=False)

    with pytest.raises(EngineBrokenError, match=r"no numbers to compare: a simulated device has no numbers"):
        control.check(decoder, clip, beam_size=5)


class Comparable(SimulatedDecoder):
    """Writes something else than what is said, on a device that computes as it should."""

    compared = Comparison("another", encoder=0.99, decoder=0.98, steps=24, unlikelier=0.1)

    def compare(self, *_: object) -> Comparison:  # type: ignore[override]
        return self.compared


@pytest.mark.parametrize(
    ("must_understand", "languages"), [(False, "en+de"), (False, "de"), (True, "en+de"), (False, "en")]
)
def test_a_working_device_is_enough_unless_the_model_must_understand(
    tmp_path: Path, must_understand: bool, languages: str
) -> None:
    decoder = Comparable.load(EngineSettings(model=f"text=hallo&languages={languages}", name="simulated"))
    clip = ControlClip(str(recording(tmp_path / "clip.wav")), "hello", 0.5, must_understand=must_understand)

    if must_understand or languages == "en":
        with pytest.raises(EngineBrokenError, match=r"The device works: .* agrees to 0\.990 .* to 0\.980\. So"):
            control.check(decoder, clip, beam_size=5)
    else:
        assert control.check(decoder, clip, beam_size=5) == 1.0


@pytest.mark.parametrize("wrong", [{"rate": 8_000}, {"channels": 2}, {"seconds": 31.0}, {"seconds": 0.0}], ids=str)
def test_a_clip_of_another_format_is_the_packagers_error(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be 16 kHz, mono"):
        check("text=hello", recording(tmp_path / "clip.wav", **wrong), "hello")  # type: ignore[arg-type]


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clip = recording(tmp_path / "clip.wav")

    check("text=hello", clip, "hello")

    assert list(tmp_path.iterdir()) == [clip]


TEXTS = st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=8).map(" ".join)


@given(TEXTS, TEXTS)
def test_the_word_error_rate_is_the_one_that_others_compute(reference: str, heard: str) -> None:
    assert control.word_error_rate(reference, heard) == pytest.approx(jiwer.wer(reference, heard))


def test_the_word_error_rate_without_words() -> None:
    assert control.word_error_rate("one two", "") == 1.0
    assert control.word_error_rate("", "") == 0.0
    assert control.word_error_rate("", "one") == 1.0


def test_the_error_rate_of_a_script_without_blanks_is_by_characters() -> None:
    assert control.word_error_rate("今日は天気がいい", "今日は、元気がいい。") == pytest.approx(1 / 8)
    assert control.word_error_rate("今日は天気がいい", "hello") == 1.0
