"""A table's numbers -> the strings that a reader sees, per setting, and the notes below them."""

import math
from typing import NamedTuple

import pandas as pd

from fedprompt.results.statistics import pairs
from fedprompt.results.statistics.inference import reached
from fedprompt.results.tables.federation import footnotes

PER_RUN = "per run"
PRIOR_NOTES = [
    "+prior: logits / T + log of the client's class prior; one T per run, fitted on the training clients' own data",
]
NAMES = {"bottom_decile": "bottom 10%", "upload_mb": "MB up", "download_mb": "MB down", "seconds": "s/run"}
WORDS = {"-": "-: not run", "failed": "failed: every run failed", "n/a": "n/a: does not apply"}
SHOWN = 6


class Entry(NamedTuple):
    """One place of the table.

    `value` is a number or a word. `bold` marks the best of a column or a significant difference, `tied` an entry that
    does not differ significantly from the best.
    """

    value: str
    spread: str = ""
    bold: bool = False
    tied: bool = False


class Block(NamedTuple):
    """The columns of one setting."""

    setting: str
    headings: list[str]
    columns: list[list[Entry]]


def heading(metric: str) -> str:
    """A metric's name as a column heading: `held_out.mean` is `held-out`, `prior.seen.mean` is `mean+prior`."""
    prior = "+prior" * metric.startswith("prior.") + "+prior (T=1)" * metric.startswith("prior_uncalibrated.")
    split, _, measure = metric.removeprefix("prior.").removeprefix("prior_uncalibrated.").rpartition(".")
    name = NAMES.get(measure, measure)
    if split not in ("", "seen"):
        group = split.replace("held_out_unlabelled", "unlabelled").replace("held_out_adapted", "adapted")
        group = group.replace("_", "-")
        name = group if measure == "mean" else f"{group} {name}"
    return name + prior


def is_difference(frame: pd.DataFrame) -> bool:
    """Whether the table contains differences to a reference instead of means."""
    return "verdict" in frame.columns.unique("statistic")


def methods(frame: pd.DataFrame) -> list[str]:
    """The names of the rows."""
    return [str(name) for name in frame.index.get_level_values("method")]


def families(frame: pd.DataFrame) -> list[str]:
    """For each row the family that starts there, otherwise ""."""
    if frame.index.nlevels == 1:
        return [""] * len(frame)
    names = [str(name) or "no family named" for name in frame.index.get_level_values("family")]
    return [name if row == 0 or names[row - 1] != name else "" for row, name in enumerate(names)]


def blocks(frame: pd.DataFrame) -> list[Block]:
    """The table as strings, one block per setting; the costs are the last block."""
    to_entries = _difference_column if is_difference(frame) else _column
    parts = []
    for setting in frame.columns.unique("setting"):
        metrics = list(frame[setting].columns.unique("metric"))
        columns = [to_entries(frame[setting][metric], metric) for metric in metrics]
        parts.append(Block(setting, [heading(metric) for metric in metrics], columns))
    return parts


def legend(frame: pd.DataFrame, bold: str, tied: str) -> list[str]:
    """The meaning of the marks `bold` and `tied`, as far as the table shows them."""
    if is_difference(frame):
        return [f"{bold}: significantly different from {frame.attrs['reference']}, better or worse"]
    shown = any(entry.tied for block in blocks(frame) for column in block.columns for entry in column)
    return [f"{bold}: best of its column"] + [f"{tied}: not significantly different from the best"] * shown


def notes(frame: pd.DataFrame) -> list[str]:
    """The lines below the table: seeds, the significance they can reach, the meaning of words and headings."""
    metrics = frame.columns.unique("metric")
    lines = _difference_notes(frame) if is_difference(frame) else _seed_notes(frame, metrics[0])
    meanings = WORDS | {"n/a": "n/a: no pair to compare"} if is_difference(frame) else WORDS
    words = {entry.value for block in blocks(frame) for column in block.columns for entry in column}
    lines += ["; ".join(meaning for word, meaning in meanings.items() if word in words)] * bool(words & set(WORDS))
    lines += footnotes(frame) + tuning_notes(frame)
    corrected = any(metric.startswith(("prior.", "prior_uncalibrated.")) for metric in metrics) or any(
        name.endswith("+prior") for name in methods(frame)
    )
    return lines + PRIOR_NOTES * corrected


def _seed_notes(frame: pd.DataFrame, metric: str) -> list[str]:
    first = pd.DataFrame(frame.xs(metric, axis=1, level="metric")).swaplevel(axis=1)
    seeds, failed = (
        pd.DataFrame(first[name]).drop(columns=pairs.ALL_SETTINGS, errors="ignore") for name in ("seeds", "failed")
    )
    most = int(seeds.to_numpy().max())
    lines = [f"{pairs.counted(most, 'seed')}; accuracies in percent" + ", mean ±std over seeds" * (most > 1)]
    fewer = [
        f"{method} in {setting}: {count}" + f" ({lost} failed)" * bool(lost)
        for setting in seeds
        for method, count, lost in zip(methods(frame), seeds[setting], failed[setting], strict=True)
        if 0 < count < most
    ]
    if fewer:
        more = f"; and {len(fewer) - SHOWN} more" * (len(fewer) > SHOWN)
        lines.append("Fewer seeds: " + "; ".join(fewer[:SHOWN]) + more)
    if most > 1 and len(frame) > 1 and (why := pairs.reach(most, len(frame) - 1)):
        lines.append(f"No method differs significantly from the best within a setting: {why}")
    return lines


def _difference_notes(frame: pd.DataFrame) -> list[str]:
    counts = pd.DataFrame(frame.xs("n", axis=1, level="statistic"))
    within = counts.drop(columns=pairs.ALL_SETTINGS, level="setting", errors="ignore")
    metrics = len(frame.columns.unique("metric"))
    most, tests = int(within.to_numpy().max()), within.size // metrics
    lines = [
        f"Differences to {frame.attrs['reference']} in percentage points (costs in their units), paired by setting and "
        f"seed; sign-flip tests, Holm-corrected over the {tests} comparisons of a metric; bootstrap intervals of "
        f"{100 * reached(most):.3g} %"
    ]
    if most and (why := pairs.reach(most, tests)):
        lines.append(f"No difference is significant within a setting: {why}")
    if pairs.ALL_SETTINGS in frame.columns.unique("setting"):
        most_pairs = int(counts[pairs.ALL_SETTINGS].to_numpy().max())
        lines.append(
            f"{pairs.ALL_SETTINGS}: mean over settings, Holm-corrected over {pairs.counted(len(frame), 'method')}, "
            "one pair per setting and seed"
        )
        if most_pairs and (why := pairs.reach(most_pairs, len(frame), "pair")):
            lines.append(f"No difference is significant over all settings: {why}")
    return lines


def _number(value: float, in_percent: bool) -> str:
    """Accuracies in percent with one decimal, other numbers with three significant digits."""
    return f"{100 * value:.1f}" if in_percent else f"{value:#.3g}" if abs(value) < 100 else f"{value:.0f}"


def tuning_notes(frame: pd.DataFrame) -> list[str]:
    """Which methods were tuned on validation samples, with how many trials, and which were not; none if none was."""
    trials: dict[str, int] = frame.attrs.get("trials", {})
    if not trials:
        return []
    by_count: dict[int, list[str]] = {}
    for method in methods(frame):
        by_count.setdefault(trials.get(method, 0), []).append(method)
    tuned = [
        f"{', '.join(names)} ({pairs.counted(count, 'trial')}{' each' * (len(names) > 1)})"
        for count, names in sorted(by_count.items(), reverse=True)
        if count
    ]
    return ["Tuned on validation samples: " + "; ".join(tuned)] + (
        [f"Not tuned: {', '.join(by_count[0])}"] if 0 in by_count else []
    )


def _column(statistics: pd.DataFrame, metric: str) -> list[Entry]:
    means, in_percent = statistics["mean"], pairs.is_accuracy(metric)
    if "seeds" not in statistics:
        return [Entry("-" if pd.isna(mean) else _number(mean, in_percent)) for mean in means]
    best = means.min() if pairs.lower_is_better(metric) else means.max()
    # If no p can be significant, every entry would be marked: a note says it once instead.
    significance_possible = any(statistics["p_best"] <= pairs.ALPHA) or not pairs.reach(
        int(statistics["seeds"].max()), max(1, int(statistics["p_best"].notna().sum()))
    )
    entries = []
    for row in statistics.to_dict("records"):
        if pd.isna(row["mean"]):
            entries.append(Entry("n/a" if row["seeds"] else "failed" if row["failed"] else "-"))
        else:
            is_best = math.isclose(row["mean"], best)
            tied = significance_possible and not is_best and row["p_best"] > pairs.ALPHA
            spread = _spread(row.get("std", math.nan), in_percent)
            entries.append(Entry(_number(row["mean"], in_percent), spread, is_best, bool(tied)))
    return entries


def _spread(std: float, in_percent: bool) -> str:
    if pd.isna(std):
        return ""
    if not in_percent:
        return f"±{std:.2g}"
    return f"±{100 * std:.1f}" if 100 * std < 9.95 else f"±{100 * std:.0f}"


def _difference_column(statistics: pd.DataFrame, metric: str) -> list[Entry]:
    in_percent, entries = pairs.is_accuracy(metric), []
    for row in statistics.to_dict("records"):
        if not row["n"] or pd.isna(row["value"]):
            entries.append(Entry("n/a"))
            continue
        low, high = (_number(row[bound], in_percent) for bound in ("low", "high"))
        spread = "" if pd.isna(row["low"]) else f"[{low}, {high}]"
        sign = "+" * (row["value"] > 0)
        entries.append(Entry(sign + _number(row["value"], in_percent), spread, row["verdict"] != pairs.NOT_SIGNIFICANT))
    return entries
