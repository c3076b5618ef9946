"""Choosing runs and metrics of a directory by names, wildcards and families."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedprompt.results.errors import RecordError, unknown
from fedprompt.results.records.frames import Unreadable, load
from fedprompt.results.records.labels import as_text, short_names
from fedprompt.results.statistics.pairs import is_accuracy, lower_is_better

NOT_METRICS = ("alpha", "seed")  # numeric columns that describe a run


class Selection(NamedTuple):
    """Words that choose runs and metrics; an empty part chooses all.

    `methods` are names as in tables, the same without options (`fedvpt` for `fedvpt tokens=5`), or families; `datasets`
    are names, in full or as in tables; `alpha` are numbers. All may have wildcards.
    """

    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    alpha: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def run_ids(self, directory: str | Path, unreadable: Unreadable | None = None) -> list[str] | None:
        """The chosen runs of a directory, None for all. `unreadable` as in `load`.

        Raises:
            RecordError: A word matches no run, or no run matches all parts.
        """
        if not (self.methods or self.datasets or self.alpha):
            return None
        runs = load(directory, unreadable=unreadable)
        chosen = runs[self._chosen(runs)]
        if chosen.empty:
            parts = {"methods": self.methods, "datasets": self.datasets, "alpha": self.alpha}
            given = " ".join(f"--{name} {','.join(words)}" for name, words in parts.items() if words)
            raise RecordError(f"no run of {directory} has all of {given}; `bench table {directory}` shows what was run")
        return [str(run_id) for run_id in chosen["run_id"]]

    def _chosen(self, runs: pd.DataFrame) -> "pd.Series[bool]":
        """Whether each run is chosen."""
        short = short_names(runs["dataset"])
        labels = runs["method"].astype(str)
        parts: tuple[tuple[str, Sequence[str], list[tuple[str, ...]]], ...] = (
            ("method", self.methods, list(zip(labels, labels.str.partition(" ")[0], runs["family"], strict=True))),
            ("data set", self.datasets, [(name, short[name]) for name in runs["dataset"]]),
            ("alpha", [_number(word) for word in self.alpha], [(_number(value),) for value in runs["alpha"]]),
        )
        chosen = pd.Series(True, index=runs.index)
        for kind, words, names in parts:
            if words:
                chosen &= _any_match(kind, words, names)
        return chosen

    def metrics_of(self, known: Iterable[str]) -> list[str]:
        """The chosen ones of the `known` metrics, in the order of the words; `validation` is `validation.mean`.

        Raises:
            RecordError: A word matches no metric.
        """
        known = list(known)
        found: dict[str, None] = {}
        for word in self.metrics:
            word = f"{word}.mean" if f"{word}.mean" in known else word
            matching = [name for name in known if fnmatchcase(name, word)]
            if not matching:
                raise unknown("metric", word, known)
            found |= dict.fromkeys(matching)
        return list(found)


ALL = Selection()


def metrics(runs: pd.DataFrame, valued: bool = True) -> list[str]:
    """The metrics of runs: the numeric columns, except those that describe a run; if `valued`, those with a value."""
    numeric = runs.select_dtypes("number")
    numeric = numeric.dropna(axis="columns", how="all") if valued else numeric
    return [str(name) for name in numeric if name not in NOT_METRICS and not str(name).startswith("config.")]


def accuracies(runs: pd.DataFrame) -> list[str]:
    """The metrics that figures can show: shares of which more is better. The default is always there."""
    shares = [name for name in metrics(runs) if is_accuracy(name) and not lower_is_better(name)]
    return list(dict.fromkeys(["seen.mean", *shares]))


def _any_match(kind: str, words: Sequence[str], names: Sequence[tuple[str, ...]]) -> NDArray[np.bool_]:
    """Whether one of the names of each run matches one of the words. Raises RecordError for a word without a match."""
    distinct = set(names)

    def matches(own: tuple[str, ...], word: str) -> bool:
        return any(fnmatchcase(name, word) for name in own)

    for word in words:
        if not any(matches(own, word) for own in distinct):
            raise unknown(kind, word, {name for own in distinct for name in own if name})
    kept = {own for own in distinct if any(matches(own, word) for word in words)}
    return np.array([own in kept for own in names])


def _number(value: object) -> str:
    """The one spelling of a number: `0.50` and `5e-1` are `0.5`; other texts are unchanged."""
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    return "" if number != number else as_text(number)
