"""Published numbers beside measured ones, each with what keeps them apart."""

from pathlib import Path

import pandas as pd
import yaml

from fedprompt.results.statistics.summary import finished

NUMBERS = Path(__file__).with_name("published_numbers.yaml")
COLUMNS = ("source", "method", "dataset", "partition", "alpha", "metric", "published", "measured", "seeds")


def published() -> pd.DataFrame:
    """One row a published number: source, protocol, comparable, method, dataset, partition, alpha, metric, published.

    Accuracies are shares, as everywhere; alpha is NaN where there is none.
    """
    rows = []
    for table in yaml.safe_load(NUMBERS.read_text(encoding="utf-8")):
        facts = {key: table[key] for key in ("source", "protocol", "comparable", "metric")}
        for method, values in table["rows"].items():
            for setting, value in zip(table["columns"], values, strict=True):
                rows.append(facts | {"method": method, "alpha": float("nan")} | setting | {"published": value / 100})
    return pd.DataFrame(rows)


def beside_published(runs: pd.DataFrame) -> pd.DataFrame:
    """Every published number of a method that was run, with what was `measured` in the same data set and partition.

    `measured` is the mean over `seeds` finished runs, NaN where there is none; runs of unlike settings are pooled, for
    no published protocol is met anyway: `comparable` says what differs.
    """
    done = finished(runs)
    known = published()
    known = known[known["method"].isin(done["method"])].copy()
    measured, seeds = [], []
    for row in known.to_dict("records"):
        same = done[(done["method"] == row["method"]) & (done["dataset"] == row["dataset"])]
        same = same[same["partition"] == row["partition"]]
        same = same[same["alpha"].eq(row["alpha"]) | pd.isna(row["alpha"])]
        values = same[row["metric"]].dropna()
        measured.append(values.mean() if len(values) else float("nan"))
        seeds.append(len(values))
    return known.assign(measured=measured, seeds=seeds)[[*COLUMNS, "protocol", "comparable"]].reset_index(drop=True)
