"""Damaged and hostile content: changed documents, changed bytes."""

import copy
import json
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hypothesis import strategies as st

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.checkpoint import CheckpointError
from fedprompt.data.errors import DataError
from fedprompt.methods.errors import MethodError
from fedprompt.results.errors import RecordError

EXPECTED_ERRORS = (ConfigError, DataError, MethodError, RecordError, CheckpointError)
SECONDS = 60  # within which a reader must answer, also on a busy machine
LEAVES = st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=8)
HOSTILE = st.sampled_from(
    [
        *("../../x", "/etc/passwd", "!!python/object/apply:os.system", "\x00", "__class__", "nan", "", "\x1b[2J"),
        *(10**400, -(10**400), float("inf"), "x" * 10_000, "2024-13-45", [[[]]], {"": {}}),
    ]
)
JSON = st.recursive(
    LEAVES | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.sampled_from(
    [
        *(b"[" * 50_000, b'{"a":' * 20_000, b"9" * 5_000, b"- " * 5_000, b"\xff\xfe", b"\x00", b"1e999", b""),
        *(b"!!timestamp x", b"!!int ''", b"!!bool x", b"!!binary x", b"? [1]\n: 2", b"&a [*a]", b"2024-13-45"),
        *(b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", b"1" + b":1" * 5_000, b"!!python/name:os.system ''"),
    ]
)
"""Whole files, or their ends."""


class TooSlow(BaseException):
    """A reader did not answer. No reader catches it, as it is no Exception."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raises TooSlow if the block takes longer."""

    def stop(*_: object) -> None:
        raise TooSlow(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tolerant(call: Callable[[], object]) -> None:
    """Calls a function, and suppresses the errors of this project only."""
    with suppress(*EXPECTED_ERRORS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about overflows in sums of absurd numbers, for example
        call()


def _places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: Any = ()
    if isinstance(document, dict | list):
        items = document.items() if isinstance(document, dict) else enumerate(document)
    return [at, *(place for key, value in items for place in _places(value, (*at, key)))]


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Returns the document with up to three values removed or replaced."""
    whole = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(_places(whole)))
        if not place:
            return copy.deepcopy(draw(JSON))
        parent = whole
        for key in place[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[place[-1]] = copy.deepcopy(draw(JSON))  # a later change must not change what others draw
        elif isinstance(parent, dict):
            del parent[place[-1]]
    return whole


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Returns the content truncated, with changed bytes, with another end, or other bytes altogether."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=64) | TEXTS)
    if kind == 1:
        return content + draw(TEXTS)
    whole = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    return bytes(whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole)


def json_file(data: st.DataObject, document: Any) -> bytes:
    """Returns a changed document as JSON, possibly damaged."""
    whole = json.dumps(data.draw(changed(document))).encode()
    return data.draw(damaged(whole)) if data.draw(st.booleans()) else whole
