"""Scores below those of the constant predictor."""

import pandas as pd

MAJORITY = "majority"  # predicts each client's most frequent training class
BELOW = "↓"
FOOTNOTE = f"{BELOW}: below {MAJORITY}, which predicts each client's most frequent training class"
ROUNDING = 1e-9


def below_majority(frame: pd.DataFrame, value: str = "mean") -> "pd.Series[bool]":
    """Whether `value` is below that of `majority` in the same setting; False without such a row."""
    floor = frame[frame["method"] == MAJORITY].set_index("setting")[value]
    return frame[value] < frame["setting"].map(floor) - ROUNDING
