# SPDX-License-Identifier: Apache-2.0
"""The model's tokens: prompts and start sequences in, text and words out.

Every id is looked up by its spelling: numbers differ between the families of models.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from faster_whisper.tokenizer import _LANGUAGE_CODES, Tokenizer

from sqscribe.errors import UnfitNodeError

__all__ = ["MAX_PROMPT_TOKENS", "Vocabulary", "padded"]

#: Tokens of initial prompt and hotwords together; Whisper keeps half of its 448 positions for what was before.
MAX_PROMPT_TOKENS = 223
#: Prompts, with `<|startofprev|>`, have a multiple of so many tokens: CTranslate2 decodes rows together only if their
#: prompts are equally long. 224 is one.
_PROMPT_STEP = 32
#: Signs that go with numbers, besides those of currencies.
_NUMBER_SIGNS = frozenset("%\u2030\u2116")


class Vocabulary:
    """Token ids of one model and what is made of them. Immutable, so threads may share it.

    Args:
        folder: The model's folder, with `tokenizer.json`.
        multilingual: Whether the model takes language and task tokens. English-only models do not, though their
            vocabulary has such tokens too.
        language_ids: Ids of the model's languages by its configuration; empty: every language that has a token.

    Raises:
        UnfitNodeError: `tokenizer.json` is missing or lacks one of Whisper's tokens.
    """

    def __init__(self, folder: Path, *, multilingual: bool, language_ids: Sequence[int] = ()) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UnfitNodeError(f"{path} is missing: copy it from the model that was converted.")
        # Released in 0.23 as a bare Exception for whatever is wrong with the file.
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:
            raise UnfitNodeError(f"{path} cannot be read: {error}") from error
        self.multilingual = multilingual
        self.eot = self._id("<|endoftext|>")
        self.start_of_transcript = self._id("<|startoftranscript|>")
        self.start_of_previous = self._id("<|startofprev|>")
        self.no_timestamps = self._id("<|notimestamps|>")
        #: Id of 0.00 s; each 0.02 s has the next one. Old tokenizer files do not list these tokens.
        self.first_timestamp = self.no_timestamps + 1
        self._language_ids = self._languages(language_ids) if multilingual else {"en": -1}
        #: Whisper codes of the languages that the model has.
        self.languages = tuple(self._language_ids)
        self._tasks = {task: self._id(f"<|{task}|>") for task in ("transcribe", "translate")} if multilingual else {}
        #: What no text may hold: symbols that are not spoken and Whisper's own marks, as in faster-whisper.
        self.suppressed = self._suppressed()

    @functools.cached_property
    def numerals(self) -> tuple[int, ...]:
        """Tokens that hold a number or a sign that goes with one, whose lack has a model spell numbers out."""
        texts = self._tokenizer.decode_batch([[token] for token in range(self.eot)])
        return tuple(token for token, text in enumerate(texts) if any(map(_is_numeral, text)))

    def prompt(self, initial_prompt: str | None, hotwords: str | None) -> tuple[int, ...]:
        """Ids of the previous-text prompt, `<|startofprev|>` first; empty without text.

        Special tokens that are spelled out in the text are left out: they would move the start of the transcript
        of this row, and with it break the batch that it shares with others.
        """
        tokens = [
            token
            for text in (initial_prompt, hotwords)
            if text and text.strip()
            for token in self._tokenizer.encode(f" {text.strip()}", add_special_tokens=False).ids
            if token < self.eot
        ]
        return (self.start_of_previous, *tokens) if tokens else ()

    def start(self, language: str, task: str) -> tuple[int, ...]:
        """The start sequence without `<|notimestamps|>`."""
        if not self.multilingual:
            return (self.start_of_transcript,)
        return (self.start_of_transcript, self._language_ids[language], self._tasks[task])

    def text_tokens(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The tokens that spell text."""
        return tuple(token for token in tokens if token < self.eot)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out; keeps the leading blank."""
        return str(self._tokenizer.decode(list(self.text_tokens(tokens))))

    def words(self, tokens: Sequence[int], language: str) -> list[tuple[str, int]]:
        """Text tokens as words with their number of tokens, punctuation marks still by themselves.

        Languages without blanks are cut at every character.
        """
        words, word_tokens = self._splitter(language).split_to_word_tokens(list(tokens))
        return [(word, len(ids)) for word, ids in zip(words, word_tokens, strict=True)]

    @functools.lru_cache(maxsize=128)  # noqa: B019 - one vocabulary lives as long as its process
    def _splitter(self, language: str) -> Tokenizer:
        splitter = Tokenizer(self._tokenizer, self.multilingual, task="transcribe", language=language)
        splitter.language_code = language
        return splitter

    def _id(self, token: str) -> int:
        identifier = self._tokenizer.token_to_id(token)
        if identifier is None:
            raise UnfitNodeError(f"tokenizer.json has no {token}: it is not that of a Whisper model.")
        return int(identifier)

    def _languages(self, language_ids: Sequence[int]) -> dict[str, int]:
        if language_ids:
            spelled = {self._tokenizer.id_to_token(identifier): identifier for identifier in language_ids}
            return {token[2:-2]: identifier for token, identifier in spelled.items() if token}
        found = {code: self._tokenizer.token_to_id(f"<|{code}|>") for code in _LANGUAGE_CODES}
        return {code: identifier for code, identifier in found.items() if identifier is not None}

    def _suppressed(self) -> tuple[int, ...]:
        plain = Tokenizer(self._tokenizer, multilingual=False)
        marks = (
            plain.transcribe,
            plain.translate,
            plain.sot,
            plain.sot_prev,
            plain.sot_lm,
            plain.no_speech,
        )
        return tuple(sorted({*plain.non_speech_tokens, *(mark for mark in marks if mark is not None)}))


def padded(prompt: tuple[int, ...]) -> tuple[int, ...]:
    """A prompt, brought to a length that prompts of other jobs have too, so that their rows share batches.

    What it is filled with is its own text, over again. On real recordings in three languages that changes word
    errors no more than chance does (11.7 % against 11.9 %); blanks do as well, Whisper's own marks add errors
    (docs/quality.md).
    """
    if not prompt:
        return ()
    first, text = prompt[:1], prompt[1:]
    missing = -len(prompt) % _PROMPT_STEP
    repeated = text * -(-missing // len(text))
    return (*first, *repeated[len(repeated) - missing :], *text)


def _is_numeral(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "N" or category == "Sc" or character in _NUMBER_SIGNS
