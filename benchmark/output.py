"""Standard output and error that cannot end a command: every text is escaped, and a failing stream is noted.

Plain `print`, logging and warnings write to them while `safe_output` is used as a context.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from fedprompt.results.text import escaped

ASCII = str.maketrans({"±": "+-", "†": "+", "↓": "v", "↗": "^"})
"""The characters of our own texts that an encoding may lack."""


class SafeStream:
    """Writes to a stream what its encoding and a terminal can show. After an error, it discards the rest.

    Attributes:
        stream: The stream behind this one.
        controls: Whether to let control characters through, for a library that draws on the terminal.
        error: The first error of the stream, or None.
    """

    def __init__(self, stream: TextIO, controls: bool = False) -> None:
        self.stream, self.controls = stream, controls
        self.error: Exception | None = None

    @property
    def terminal(self) -> "SafeStream":
        """The same stream for a library that draws on the terminal, and escapes what it shows by itself."""
        return SafeStream(self.stream, controls=True)

    def write(self, text: str) -> int:
        """Writes the text; never raises for what the stream refuses."""
        shown = encodable(text if self.controls else escaped(text, lines=True), self.stream.encoding or "utf-8")
        self._attempt(lambda: self.stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream; never raises."""
        self._attempt(self.stream.flush)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.error is not None:
            return
        try:
            action()
        except (OSError, ValueError) as error:  # full, closed by its reader, or closed here
            self.error = error
            with suppress(OSError, ValueError):  # what is buffered is discarded when the process ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def encodable(text: str, encoding: str) -> str:
    """The text itself if the encoding has all of its characters; otherwise in ASCII."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


@contextmanager
def safe_output() -> Iterator[tuple[SafeStream, SafeStream]]:
    """Replaces the standard streams, and restores them; yields those of output and errors."""
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    output, errors = (SafeStream(stream or open(os.devnull, "w", encoding="utf-8")) for stream in before)  # noqa: SIM115
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield output, errors
    finally:
        for stream in (output, errors):
            stream.flush()
        sys.stdout, sys.stderr = before


def _open_closed_descriptors() -> None:
    """Opens /dev/null for each standard stream that is closed: a file would get its number, and foreign output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
