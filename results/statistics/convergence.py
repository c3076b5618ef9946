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
    """How far each method is from its own score at the end of a longer run.

    Args:
        rounds: The rounds of long runs, as `rounds` of `fedprompt.results` reads them. Each run was evaluated after the
            rounds `number` - 1, `number`, `number` + 1 and after the last.
        number: The round whose score is judged.
        metric: The score.

    Returns:
        One row per alpha and method: `score` after round `number`, `final` after the last round (means over seeds),
        `distance` = final - score, and `one_round`, the largest absolute change of the mean by one round less or more.
    """
    columns = ["alpha", "method", "seed"]
    last = rounds.groupby(columns)["round"].transform("max")
    named = {number: "score", number - 1: "less", number + 1: "more"}
    name = rounds["round"].map(named).where(rounds["round"] < last, "final")
    name = name.where((rounds["round"] == last) | rounds["round"].isin(named))
    scored = rounds.assign(name=name).dropna(subset=["name", metric])
    wide = scored.pivot_table(metric, ["alpha", "method"], "name")
    changes = pd.concat([wide["less"] - wide["score"], wide["more"] - wide["score"]], axis=1).abs()
    found = wide[["score", "final"]].assign(distance=wide["final"] - wide["score"], one_round=changes.max(axis=1))
    return found.reset_index()


def with_climbing(data: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`data`, a row per setting and method, with a column `climbing`."""
    marked = {
        (setting, method): bool(value)
        for setting, part in runs.groupby("setting")
        for method, value in climbing(part).items()
    }
    pairs = zip(data["setting"], data["method"], strict=True)
    return data.assign(climbing=[marked.get(pair, False) for pair in pairs])
