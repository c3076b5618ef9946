"""The scores that the report shows: the numbers of `bench table`, rounded as there."""

from typing import Any, NamedTuple

import pandas as pd

from fedprompt.results.report.charts import number
from fedprompt.results.statistics.convergence import CLIMBING
from fedprompt.results.statistics.inference import reached
from fedprompt.results.statistics.trivial import BELOW
from fedprompt.results.tables.entries import Block, Entry

BEST, CLOSE = "*", "~"


class Score(NamedTuple):
    """One place of the leaderboard.

    `mean` is in percent, for sorting and charts, None without a value; `text` and `spread` are what a table shows;
    `low` and `high` bound the interval that reaches `level` percent, None for too few seeds; `marks` are BEST, CLOSE
    (among the best of a setting in which some methods are not), BELOW and CLIMBING.
    """

    mean: float | None
    text: str
    spread: str = ""
    low: float | None = None
    high: float | None = None
    level: float | None = None
    marks: str = ""


ABSENT = Score(None, "-")


def board(table: pd.DataFrame, shown: list[Block], metric: str, place: int, settings: list[str]) -> list[list[Score]]:
    """The scores of one metric of a `leaderboard`, [methods of the table][settings].

    `shown` are the table's `blocks`; the metric is the one at this `place` in each. A setting without the metric has no
    scores.
    """
    frame = pd.DataFrame(table)  # without `attrs`, of which pandas makes a copy with every selection
    entries = {block.setting: block.columns for block in shown}
    columns: list[list[Score]] = []
    for setting in settings:
        if (setting, metric, "mean") not in frame:
            columns.append([ABSENT] * len(frame))
            continue
        names = ("mean", "low", "high", "seeds")
        numbers = zip(*(frame[setting, metric, name].tolist() for name in names), strict=True)
        columns.append([_score(entry, *own) for entry, own in zip(entries[setting][place], numbers, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)]


def _score(entry: Entry, mean: float, low: float, high: float, seeds: int) -> Score:
    marks = BEST * entry.bold + CLOSE * entry.tied + BELOW * entry.below + CLIMBING * entry.climbing
    low_shown, high_shown = once(low), once(high)
    level = None if low_shown is None else number(100 * reached(seeds), 1)
    return Score(number(100 * mean, 4), entry.value, entry.spread, low_shown, high_shown, level, marks)


def once(share: float) -> float | None:
    """A share in percent with the one decimal that a table shows; None for NaN."""
    return None if share != share else float(f"{100 * share:.1f}")


def packed_scores(rows: list[list[Score]]) -> list[list[list[Any]]]:
    """The scores without the empty ends of each."""
    return [[_stripped(score) for score in row] for row in rows]


def _stripped(score: Score) -> list[Any]:
    values = list(score)
    while values and values[-1] in ("", None):
        values.pop()
    return values
