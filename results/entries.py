"""Leaderboard -> the strings that a reader sees, cell by cell, and the notes below them."""

import math
from typing import NamedTuple

import pandas as pd

PRIOR_NOTE = "+prior: logits + log of the client's class prior, classes absent at the client masked"
NAMES = {"bottom_decile": "bottom 10%", "upload_mb": "MB up", "seconds": "s/run"}
WORDS = {"-": "-: not run", "failed": "failed: every run failed", "n/a": "n/a: does not apply"}
SHOWN = 6


class Entry(NamedTuple):
    """One place of the table: a number or a word, its spread over seeds, and whether it is its column's best."""

    value: str
    spread: str = ""
    best: bool = False


class Block(NamedTuple):
    """The columns of one cell."""

    cell: str
    headings: list[str]
    columns: list[list[Entry]]


def heading(metric: str) -> str:
    """A metric's name as a column heading: `held_out.mean` is `held-out`, `prior.seen.mean` is `mean+prior`."""
    prior = metric.startswith("prior.")
    split, _, measure = metric.removeprefix("prior.").rpartition(".")
    name = NAMES.get(measure, measure)
    if split not in ("", "seen"):
        group = split.replace("held_out_unlabelled", "unlabelled").replace("_", "-")
        name = group if measure == "mean" else f"{group} {name}"
    return name + "+prior" * prior


def blocks(frame: pd.DataFrame) -> list[Block]:
    """The table as strings, cell by cell; the costs are the last block."""
    found = []
    for cell in frame.columns.unique("cell"):
        metrics = list(frame[cell].columns.unique("metric"))
        columns = [_column(frame[cell][metric], metric) for metric in metrics]
        found.append(Block(cell, [heading(metric) for metric in metrics], columns))
    return found


def notes(frame: pd.DataFrame) -> list[str]:
    """What a reader must know: how many seeds, which places have fewer, what the words and headings mean."""
    metrics = frame.columns.unique("metric")
    first = pd.DataFrame(frame.xs(metrics[0], axis=1, level="metric")).swaplevel(axis=1)
    seeds, failed = pd.DataFrame(first["seeds"]), pd.DataFrame(first["failed"])
    most = int(seeds.to_numpy().max())
    lines = [f"{most} seed{'s' * (most != 1)}; accuracies in percent" + ", mean ±std over seeds" * (most > 1)]
    fewer = [
        f"{method} in {cell}: {count}" + f" ({lost} failed)" * bool(lost)
        for cell in seeds
        for method, count, lost in zip(seeds.index, seeds[cell], failed[cell], strict=True)
        if 0 < count < most
    ]
    if fewer:
        lines.append(
            "Fewer seeds: " + "; ".join(fewer[:SHOWN]) + f"; and {len(fewer) - SHOWN} more" * (len(fewer) > SHOWN)
        )
    words = {entry.value for block in blocks(frame) for column in block.columns for entry in column}
    lines += ["; ".join(meaning for word, meaning in WORDS.items() if word in words)] * bool(words & set(WORDS))
    lines += tuning_notes(frame)
    return lines + [PRIOR_NOTE] * any(metric.startswith("prior.") for metric in metrics)


def tuning_notes(frame: pd.DataFrame) -> list[str]:
    """Which rows have settings chosen on validation samples, after how many trials, and which have not; or nothing."""
    trials: dict[str, int] = frame.attrs.get("trials", {})
    if not trials:
        return []
    by_count: dict[int, list[str]] = {}
    for method in map(str, frame.index):
        by_count.setdefault(trials.get(method, 0), []).append(method)
    told = [
        f"{', '.join(rows)} ({count} trial{'s' * (count != 1)}{' each' * (len(rows) > 1)})"
        for count, rows in sorted(by_count.items(), reverse=True)
        if count
    ]
    return ["Tuned on validation samples: " + "; ".join(told)] + (
        [f"Not tuned: {', '.join(by_count[0])}"] if 0 in by_count else []
    )


def _column(statistics: pd.DataFrame, metric: str) -> list[Entry]:
    means = statistics["mean"]
    if "seeds" not in statistics:
        return [Entry("-" if pd.isna(mean) else f"{mean:#.3g}" if mean < 100 else f"{mean:.0f}") for mean in means]
    share = "." in metric and not metric.endswith(".clients")
    scale, best = 100 if share else 1, means.min() if metric.endswith(".std") else means.max()
    entries = []
    for mean, std, seeds, failed in statistics[["mean", "std", "seeds", "failed"]].itertuples(index=False):
        if pd.isna(mean):
            entries.append(Entry("n/a" if seeds else "failed" if failed else "-"))
        else:
            spread = "" if pd.isna(std) else f"±{scale * std:.1f}" if scale * std < 9.95 else f"±{scale * std:.0f}"
            entries.append(Entry(f"{scale * mean:.1f}", spread, share and math.isclose(mean, best)))
    return entries
