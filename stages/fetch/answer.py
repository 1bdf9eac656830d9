# SPDX-License-Identifier: Apache-2.0
"""An HTTP answer whose body is still to be read, and what becomes of connections that fail."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from sqscribe.errors import ErrorCode, PermanentError, TransientError
from sqscribe.urls import redact
from stages.fetch.budget import FetchBudget
from stages.fetch.encoding import BrokenBodyError, Decoder, UnknownEncodingError, decoder_of, encodings_of
from stages.fetch.reasons import is_untrusted, reason
from stages.fetch.statuses import Meaning, meaning_of, refusal, retry_after
from stages.fetch.watch import TransferWatch

__all__ = ["Answer", "NoAnswerError", "UntrustedError", "check_status", "line_faults"]


class NoAnswerError(TransientError):
    """Nobody answered: no address for the name, no connection, or no first byte. This node's network may be at fault.

    Attributes:
        host: The one that did not answer.
    """

    def __init__(self, host: str, message: str) -> None:
        super().__init__(ErrorCode.SOURCE_UNREACHABLE, message)
        self.host = host


class UntrustedError(TransientError):
    """The server's certificate is wrong. Its owner may mend that, but not within seconds."""


class Answer:
    """A response whose body is still to be read. A context manager that closes the connection.

    Attributes:
        url: Where it came from, redirects followed; without credentials.
        secrets: The headers with credentials that were sent there.
    """

    def __init__(
        self,
        line: ExitStack,
        response: BaseHTTPResponse,
        url: str,
        watch: TransferWatch,
        budget: FetchBudget,
        wire: socket.socket,
        secrets: Mapping[str, str],
    ) -> None:
        self._line = line
        self._response = response
        self._watch = watch
        self._budget = budget
        self._wire = wire
        self.url = url
        self.secrets = secrets
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers
        self._encodings = encodings_of(self.headers.get("content-encoding", ""))
        self._decoder: Decoder | None = None  # made when the body is first read: that of an error may be of any kind

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; repeating it is harmless."""
        self._response.close()
        self._line.close()

    def abort(self) -> None:
        """Makes a read that is under way in another thread fail at once."""
        with suppress(OSError):  # closed meanwhile, which is as good
            self._wire.shutdown(socket.SHUT_RDWR)

    @property
    def encoded(self) -> bool:
        """Whether the body is sent compressed: then its bytes are not those that lengths and ranges count."""
        return bool(self._encodings)

    @property
    def length(self) -> int | None:
        """The bytes that it declares; None where it declares none.

        Raises:
            TransientError: `source_unreachable`: it declares what is no length, or several.
        """
        declared = self.headers.get("content-length")
        if declared is None:
            return None
        said = {part.strip() for part in declared.split(",")}
        length = said.pop()
        if said or not (length.isascii() and length.isdecimal()):
            raise TransientError(
                ErrorCode.SOURCE_UNREACHABLE, f"{redact(self.url)} declares a length that is none: {declared[:40]!r}"
            )
        return int(length)

    def read(self, limit: int) -> bytes:
        """What has come, up to `limit` bytes; nothing at the end.

        Raises:
            BudgetSpentError: The fetch has brought more than it may.
            Cancelled: The job is called off.
            PermanentError: `media_unreadable`: it is compressed in a way that is not known.
            TransientError: `source_unreachable`: the connection broke, or the body is shorter than declared.
        """
        if not self._encodings:
            return self._receive(limit)
        self._decoder = self._decoder or self._make_decoder()
        try:
            while not (chunk := self._decoder.take(limit)):
                sent = self._receive(limit)
                if not sent:
                    self._decoder.finish()
                    break
                self._decoder.feed(sent)
        except BrokenBodyError as error:
            raise TransientError(ErrorCode.SOURCE_UNREACHABLE, f"{redact(self.url)}: {error}") from error
        return chunk

    def _make_decoder(self) -> Decoder:
        try:
            return decoder_of(self._encodings)
        except UnknownEncodingError as error:
            raise PermanentError(
                ErrorCode.MEDIA_UNREADABLE,
                f"{redact(self.url)} is sent compressed as {error!s}, which was not asked for and is not known here",
            ) from error

    def _receive(self, limit: int) -> bytes:
        with line_faults(self.url, self._watch):
            chunk = self._response.read1(limit, decode_content=False)
        if not chunk:
            self._watch.check()  # a body of unknown length ends the same way when the watch has cut it
        self._budget.received(len(chunk))
        return chunk


@contextmanager
def line_faults(url: str, watch: TransferWatch, unanswered: str | None = None) -> Iterator[None]:
    """Turns a failure of the connection into `source_unreachable`, or into what made the watch cut the line.

    Args:
        url: For the message.
        watch: What watches the line.
        unanswered: The host, as long as it has not answered: the error is a `NoAnswerError` then.
    """
    try:
        yield
    except (HTTPError, http.client.HTTPException, OSError) as error:
        watch.check()
        said = f"{redact(url)} cannot be {'read' if unanswered is None else 'reached'}: {reason(error)}"
        if is_untrusted(error):
            raise UntrustedError(ErrorCode.SOURCE_UNREACHABLE, said) from error
        # What breaks off amid TLS, or is no HTTP, has come from somebody.
        if unanswered is not None and isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            raise NoAnswerError(unanswered, said) from error
        raise TransientError(ErrorCode.SOURCE_UNREACHABLE, said) from error


def check_status(answer: Answer) -> None:
    """Lets answers pass that carry the source.

    Raises:
        PermanentError: `source_forbidden`, `source_not_found`.
        TransientError: `source_unreachable`.
    """
    if meaning_of(answer.status) is not Meaning.CARRIES:
        said = f"{redact(answer.url)} answered {answer.status} {(answer.reason or '')[:80]}".rstrip()
        raise refusal(answer.status, said, retry_after(answer.headers.get("retry-after")))
