"""Published numbers next to measured ones, each with the reason why they cannot be compared."""

from pathlib import Path

import pandas as pd
import yaml

from fedprompt.results.statistics.summary import finished

NUMBERS = Path(__file__).with_name("published_numbers.yaml")
COLUMNS = ("source", "method", "dataset", "partition", "alpha", "metric", "published", "measured", "seeds")


def published() -> pd.DataFrame:
    """One row per published number: source, protocol, comparable, method, dataset, partition, alpha, metric, published.

    Accuracies are in [0, 1]; alpha is NaN for partitions without one.
    """
    rows = []
    for table in yaml.safe_load(NUMBERS.read_text(encoding="utf-8")):
        facts = {key: table[key] for key in ("source", "protocol", "comparable", "metric")}
        for method, values in table["rows"].items():
            for setting, value in zip(table["columns"], values, strict=True):
                rows.append(facts | {"method": method, "alpha": float("nan")} | setting | {"published": value / 100})
    return pd.DataFrame(rows)


def beside_published(runs: pd.DataFrame) -> pd.DataFrame:
    """The published numbers of all methods that were run, with `measured` for the same data set and partition.

    `measured` is the mean over `seeds` finished runs, NaN if there are none. Runs with different options are pooled, as
    no published protocol is reproduced exactly: `comparable` says what differs.
    """
    done = finished(runs)
    numbers = published()
    numbers = numbers[numbers["method"].isin(done["method"])].copy()
    measured, seeds = [], []
    for row in numbers.to_dict("records"):
        same = done[(done["method"] == row["method"]) & (done["dataset"] == row["dataset"])]
        same = same[same["partition"] == row["partition"]]
        same = same[same["alpha"].eq(row["alpha"]) | pd.isna(row["alpha"])]
        values = same[row["metric"]].dropna()
        measured.append(values.mean())
        seeds.append(len(values))
    return numbers.assign(measured=measured, seeds=seeds)[[*COLUMNS, "protocol", "comparable"]].reset_index(drop=True)
