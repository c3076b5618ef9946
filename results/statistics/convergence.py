"""Methods that are still climbing when their runs end."""

import pandas as pd

CHANGE = "convergence_seen_change"
CLIMBING = "↗"
POINTS = 0.02
"""Gain of seen accuracy in the last quarter of the rounds, mean over seeds, from which a method is still climbing.

Where the distance to the final accuracy falls as 1 / rounds, a gain of 2.2 points from 3/4 R to R rounds leaves 5
points from R to 4 R.
"""
FOOTNOTE = f"{CLIMBING}: still climbing, seen accuracy rose by more than 2 points in the last quarter of the rounds"


def climbing(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each method still climbs in these runs, by method; False for records that do not say."""
    changes = runs.get(CHANGE, pd.Series(float("nan"), runs.index))
    return changes.groupby(runs["method"]).mean() > POINTS


def distances(rounds: pd.DataFrame, number: int, metric: str = "seen_mean") -> pd.DataFrame:
    """How far each method is from its own score after more rounds.

    Args:
        rounds: The rounds of short and long runs, as `rounds` of `fedprompt.results` reads them. A run is short if it
            ends after `number` rounds; it was evaluated one round before its end, too.
        number: The rounds of the short runs.
        metric: The score.

    Returns:
        One row per alpha and method that has both: `score` of the short runs and `final` of the long ones (means over
        the seeds that both have), `distance` = final - score, `one_round`, the absolute mean change by the last round
        of the short runs that were evaluated before it, and `seeds`, their number.
    """
    keys = ["alpha", "method"]
    last = rounds.groupby("run_id")["round"].transform("max")
    ends, before = rounds["round"] == last, (last == number) & (rounds["round"] == number - 1)
    name = pd.Series("final", rounds.index).where(last > number, "score").where(~before, "before")
    scored = rounds.assign(name=name)[(ends & (last >= number)) | before]
    wide = scored.pivot_table(metric, [*keys, "seed"], "name")
    wide = wide.reindex(columns=["before", "score", "final"]).dropna(subset=["score", "final"])
    means = wide.groupby(keys).mean()
    change = (wide["score"] - wide["before"]).groupby(keys).mean().abs()  # of the seeds that have both
    found = means[["score", "final"]].assign(distance=means["final"] - means["score"], one_round=change)
    return found.assign(seeds=wide.groupby(keys).size()).reset_index()


def with_climbing(data: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`data`, a row per setting and method, with a column `climbing`."""
    marked = {
        (setting, method): bool(value)
        for setting, part in runs.groupby("setting")
        for method, value in climbing(part).items()
    }
    pairs = zip(data["setting"], data["method"], strict=True)
    return data.assign(climbing=[marked.get(pair, False) for pair in pairs])
