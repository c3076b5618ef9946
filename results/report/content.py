"""Tidy frames -> what the report's charts draw, small enough for thousands of runs."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from fedprompt.results.figures.style import LINES, Styles
from fedprompt.results.statistics.summary import over_seeds

POINTS = 60  # of a curve, at most
SHARES = np.linspace(0, 1, 41)  # of the clients, worst first
CLIENTS, CLASSES = 100, 100  # of a partition's picture, at most
METRICS = {  # metric: what the report calls it
    "seen.mean": "seen clients, mean",
    "seen.worst": "seen clients, worst",
    "held_out.mean": "held-out clients, mean",
    "prior.seen.mean": "seen clients, mean, prior-corrected",
}
# Matplotlib's marks as Plotly calls them.
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "p": "pentagon",
    "*": "star",
}
DASHES = ("solid", "dash", "dot", "dashdot")


def looks(styles: Styles) -> dict[str, dict[str, str]]:
    """Colour, symbol and dash of every method, as the figures have them."""
    return {
        name: {
            "colour": to_hex(style.colour),
            "symbol": SYMBOLS[style.marker],
            "dash": DASHES[LINES.index(style.line)],
        }
        for name, style in styles.items()
    }


def curves(rounds: pd.DataFrame) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """By setting and method: `round`, and `mean` and `std` of the seen clients' accuracy in percent, over seeds."""
    data = over_seeds(rounds, ["setting", "method", "round"], "seen_mean").sort_values(["setting", "method", "round"])
    found: dict[str, dict[str, Any]] = {}
    for (setting, method), rows in data.groupby(["setting", "method"], sort=False):
        kept = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, POINTS).round().astype(int))]
        found.setdefault(str(setting), {})[str(method)] = {
            "round": kept["round"].tolist(),
            "mean": percent(kept["mean"]),
            "std": percent(kept["std"]),
        }
    return found


def sorted_clients(clients: pd.DataFrame) -> dict[str, dict[str, list[float | None]]]:
    """By setting and method: the accuracy in percent at each of `SHARES` of the seen clients, worst first."""
    seen = clients[~clients["held_out"].astype(bool)].dropna(subset=["accuracy"])
    found: dict[str, dict[str, Any]] = {}
    for (setting, method), rows in seen.groupby(["setting", "method"], sort=False):
        found.setdefault(str(setting), {})[str(method)] = percent(pd.Series(np.quantile(rows["accuracy"], SHARES)))
    return found


def costs(done: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """By setting and method: accuracy in percent, MB uploaded, seconds; means over seeds."""
    means = done.groupby(["setting", "method"], sort=False)[
        ["seen.mean", "held_out.mean", "upload_mb", "seconds"]
    ].mean()
    found: dict[str, dict[str, Any]] = {}
    for row in means.reset_index().to_dict("records"):
        seen, held = percent(pd.Series([row["seen.mean"], row["held_out.mean"]]))
        cost = {"upload_mb": number(row["upload_mb"], 4), "seconds": number(row["seconds"], 2)}
        found.setdefault(row["setting"], {})[row["method"]] = {"seen": seen, "held_out": held, **cost}
    return found


def partitions(clients: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By setting, of its first run: `clients` shown, their `held_out` and `counts` [classes][clients], `of` how many.

    Of many clients every n-th is shown, of many classes neighbours are added up.
    """
    first = clients.sort_values("seed", kind="stable").drop_duplicates("setting").set_index("setting")["run_id"]
    found = {}
    for setting, run_id in first.items():
        rows = clients[clients["run_id"] == run_id].sort_values(["held_out", "client"])
        shown = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, CLIENTS).round().astype(int))]
        counts = np.stack(list(shown["class_counts"])).T
        edges = np.unique(np.linspace(0, len(counts), min(len(counts), CLASSES) + 1).round().astype(int))[:-1]
        found[str(setting)] = {
            "clients": shown["client"].tolist(),
            "held_out": shown["held_out"].astype(bool).tolist(),
            "counts": np.add.reduceat(counts, edges).tolist(),
            "classes": edges.tolist(),
            "of": len(rows),
        }
    return found


def percent(shares: pd.Series) -> list[float | None]:
    """Shares in percent to two places, None for NaN."""
    return [number(100 * share, 2) for share in shares]


def number(value: float, places: int) -> float | None:
    """A number that JSON can carry: rounded, None for NaN."""
    return None if pd.isna(value) else round(float(value), places)
