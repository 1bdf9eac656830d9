# SPDX-License-Identifier: Apache-2.0
"""What clips there are: their length, voices, texts and encoding."""

from __future__ import annotations

from dataclasses import dataclass

from demo_model.vocabulary import TEMPLATES

_GREETINGS = (
    "hello world",
    "hello world this is the demo model",
    "hello and welcome",
    "welcome and good morning",
    "thank you and good morning",
    "this is the demo model",
    "welcome this is the test",
    "the demo is ready please start",
)
_NUMBERS = ("this is number N", "the number is N N N N", "number N is C", "audio file N N", "please open file number N")
_LETTERS = ("A A A A", "hello this is A", "this is A A N N")
_COMMANDS = (
    "go X and X",
    "please go X",
    "please stop",
    "please open file number N",
    "open the C file",
    "please close the file",
    "please start the machine",
)
_CALENDAR = ("today is D", "today is D M N", "D and D", "the test is on D")
_STATUS = ("the machine is ready", "the file is ready", "the audio is on", "the audio is off", *_CALENDAR, *_NUMBERS)

_VIDEO = ("-f", "lavfi", "-i", "testsrc2=size=192x108:rate=5")


@dataclass(frozen=True, slots=True)
class Plan:
    """One clip to be made.

    Attributes:
        file: Its name; the ending is the container.
        seconds: Its length.
        encoder: ffmpeg's output options.
        voices: espeak-ng voices that take turns; empty for silence.
        templates: Phrases that may be said, as in `vocabulary.TEMPLATES`.
        rate: Words a minute, about.
        pauses: Shortest and longest pause between two phrases, in seconds.
        noise: White noise below full scale in dB; None for digital silence between the phrases.
        inputs: More inputs for ffmpeg (the picture of a video).
        stereo: Each voice has a channel of its own.
        tolerance: The clip is good when sqscribe hears every word, and no mode of faster-whisper mishears more than
            this share of them (none of a short clip's). A long one would need many rounds for the last word: without
            timestamps, faster-whisper cuts every 30 s, through words if need be.
    """

    file: str
    seconds: float
    encoder: tuple[str, ...]
    voices: tuple[str, ...] = ()
    templates: tuple[str, ...] = TEMPLATES
    rate: int = 145
    pauses: tuple[float, float] = (0.4, 1.2)
    noise: float | None = None
    inputs: tuple[str, ...] = ()
    stereo: bool = False
    tolerance: float = 0.01

    @property
    def seed(self) -> int:
        """The same for the same name: clips can be made one by one."""
        return int.from_bytes(self.file.encode(), "big") % 2**32


#: The name of the clip that is no media, and what is in it.
BROKEN_FILE = "broken.mp3"
BROKEN_BYTES = b"This is a text file whose name says MP3. A worker must call it unreadable, once, and go on.\n" * 8

PLANS = (
    Plan("hello.wav", 6.0, ("-c:a", "pcm_s16le"), ("en-us+m3",), _GREETINGS, 140),
    Plan("greetings.mp3", 14.0, ("-ar", "44100", "-b:a", "64k"), ("en",), _GREETINGS, 150),
    Plan("numbers.mp3", 20.0, ("-b:a", "32k"), ("en-us+f2",), _NUMBERS, 140),
    Plan("letters.ogg", 16.0, ("-c:a", "libvorbis", "-ar", "22050", "-q:a", "3"), ("en-us+m1",), _LETTERS, 130),
    Plan("commands.opus", 18.0, ("-c:a", "libopus", "-b:a", "24k"), ("en+f4",), _COMMANDS, 150),
    Plan("calendar.m4a", 22.0, ("-c:a", "aac", "-ar", "48000", "-b:a", "64k"), ("en-us",), _CALENDAR, 140),
    Plan(
        "screencast.mp4",
        25.0,
        ("-c:v", "libx264", "-preset", "slow", "-crf", "38", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "48k"),
        ("en-us+m2",),
        _COMMANDS,
        140,
        inputs=_VIDEO,
    ),
    Plan("telephone.wav", 12.0, ("-c:a", "pcm_mulaw", "-ar", "8000"), ("en-us+f1",), _STATUS, 135),
    Plan(
        "interview.ogg",
        35.0,
        ("-c:a", "libvorbis", "-q:a", "2"),
        ("en-us+m3", "en+f4"),
        _GREETINGS + _STATUS,
        145,
        stereo=True,
    ),
    Plan("noisy.mp3", 20.0, ("-b:a", "48k"), ("en+m4",), _STATUS, 140, noise=-48.0),
    Plan(
        "briefing.m4a",
        75.0,
        ("-c:a", "aac", "-b:a", "40k"),
        ("en-us+m1", "en-us+f4", "en+m3"),
        _STATUS + _COMMANDS,
        pauses=(0.5, 2.0),
    ),
    Plan(
        "lecture.mp3",
        150.0,
        ("-b:a", "32k"),
        ("en-us", "en+f2"),
        _GREETINGS + _STATUS + _COMMANDS,
        pauses=(0.6, 3.0),
    ),
    Plan(
        "archive.opus",
        300.0,
        ("-c:a", "libopus", "-b:a", "20k"),
        ("en-us+m3", "en+f2", "en-us+m1", "en-us+f4"),
        _GREETINGS + _STATUS + _COMMANDS,
        pauses=(0.8, 4.0),
        tolerance=0.015,
    ),
    Plan("silence.m4a", 10.0, ("-c:a", "aac", "-b:a", "32k")),
)
