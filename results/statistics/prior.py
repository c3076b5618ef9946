"""Scores of prior-corrected logits as rows of their own, METHOD+prior."""

import pandas as pd

PRIOR = "+prior"
NOTES = {  # by whether the records have a temperature
    True: "+prior: logits / T + log of the client's class prior; T per run, fitted on training clients' data",
    False: "+prior: logits + log of the client's class prior, not calibrated (records of version 0.2)",
}


def with_prior(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a second row per run, METHOD+prior: its scores with prior-corrected logits."""
    corrected = frame.assign(method=frame["method"] + PRIOR)
    for column in frame:
        if f"prior.{column}" in frame:
            corrected[column] = frame[f"prior.{column}"]
    return pd.concat([frame, corrected], ignore_index=True)


def calibrated(runs: pd.DataFrame) -> bool:
    """Whether the records of finished runs have a temperature."""
    return "temperature" in runs and bool(runs["temperature"].notna().any())
