"""Options with several values: the words of the command line or a preset -> their values."""

import re
from collections.abc import Sequence
from typing import Any

from fedprompt.benchmark.errors import ConfigError

LISTS = ("methods", "datasets", "alpha", "seeds", "eval_at", "set", "plugin")  # options with several values
WHOLE_TEXTS = ("set", "plugin")  # lists whose texts may contain commas
NUMBERS = {"alpha": float, "seeds": int, "eval_at": int}
MAX_RANGE = 10_000  # seeds of one range


def parse_list(name: str, values: Sequence[str]) -> list[Any]:
    """Returns the values of a list option, whose words may contain commas; `0-5` are the seeds from 0 to 5.

    Raises:
        ConfigError: there is no value, or one is not a number.
    """
    words = [w.strip() for v in values for w in ([v] if name in WHOLE_TEXTS else v.split(",")) if w.strip()]
    if not words:
        raise ConfigError(f"--{name} is empty: name at least one value.")
    if name not in NUMBERS:
        return words
    given = f"--{name} {','.join(words)}"
    if any(re.search(r"[\s;]", word) for word in words):
        separated = re.sub(r"[\s;,]+", ",", ",".join(words))
        raise ConfigError(f"{given}: use commas, --{name} {separated}.")
    return [number for word in words for number in _numbers(name, word, given)]


def _numbers(name: str, word: str, given: str) -> Sequence[float]:
    """The number that a word is, or the seeds of a range."""
    if name == "seeds" and (ends := re.fullmatch(r"(\d+)-(\d+)", word)):
        first, last = int(ends[1]), int(ends[2])
        if first > last:
            raise ConfigError(
                f"{given}: {word!r} is not a range of seeds: it begins with the smaller number, {last}-{first}."
            )
        if last - first >= MAX_RANGE:
            raise ConfigError(f"{given}: {word!r} has {last - first + 1} seeds; at most {MAX_RANGE}.")
        return range(first, last + 1)
    try:
        return [NUMBERS[name](word)]
    except ValueError:
        expected = "a whole number or a range such as 0-5" if name == "seeds" else "a number"
        raise ConfigError(f"{given}: {word!r} is not {expected}.") from None
