"""A table's numbers -> the strings that a reader sees, per setting, and the notes below them."""

import math
from typing import NamedTuple

import pandas as pd

from fedprompt.results.statistics import best, convergence, pairs, prior
from fedprompt.results.statistics.inference import reached
from fedprompt.results.statistics.trivial import FOOTNOTE
from fedprompt.results.tables.federation import footnotes

PER_RUN = "per run"
NAMES = {"bottom_decile": "bottom 10%", "upload_mb": "MB up", "download_mb": "MB down", "seconds": "s/run"}
WORDS = {"-": "-: not run", "failed": "failed: every run failed", "n/a": "n/a: does not apply"}
SHOWN = 6


class Entry(NamedTuple):
    """One place of the table.

    `value` is a number or a word. `bold` marks a method that is better than all others, or a significant difference;
    `tied` one of those that can be the best; `below` a score below `majority`; `climbing` a method that still climbs.
    """

    value: str
    spread: str = ""
    bold: bool = False
    tied: bool = False
    below: bool = False
    climbing: bool = False


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
    frame = pd.DataFrame(frame)  # without `attrs`, of which pandas makes a deep copy with every selection
    parts = []
    for setting in frame.columns.unique("setting"):
        statistics = frame[setting]
        metrics = list(statistics.columns.unique("metric"))
        columns = [to_entries(statistics[metric], metric) for metric in metrics]
        parts.append(Block(setting, [heading(metric) for metric in metrics], columns))
    return parts


def legend(frame: pd.DataFrame, bold: str, tied: str) -> list[str]:
    """The meaning of the marks, as far as the table shows them; `bold` and `tied` are how it shows these two."""
    entries = [entry for block in blocks(frame) for column in block.columns for entry in column]
    if is_difference(frame):
        meanings = {f"{bold}: significantly different from {frame.attrs['reference']}, better or worse": "bold"}
    else:
        meanings = {
            f"{bold}: significantly better than every other method (all pairs)": "bold",
            f"{tied}: among the best, as no method is significantly better (all pairs)": "tied",
            FOOTNOTE: "below",
            convergence.FOOTNOTE: "climbing",
        }
    return [meaning for meaning, mark in meanings.items() if any(getattr(entry, mark) for entry in entries)]


def notes(frame: pd.DataFrame) -> list[str]:
    """The lines below the table: seeds, the significance they can reach, the meaning of words and headings."""
    metrics = frame.columns.unique("metric")
    lines = _difference_notes(frame) if is_difference(frame) else _seed_notes(frame, metrics[0])
    meanings = WORDS | {"n/a": "n/a: no pair to compare"} if is_difference(frame) else WORDS
    words = {entry.value for block in blocks(frame) for column in block.columns for entry in column}
    lines += ["; ".join(meaning for word, meaning in meanings.items() if word in words)] * bool(words & set(WORDS))
    lines += [*frame.attrs.get("exclusions", []), *footnotes(frame), *tuning_notes(frame)]
    corrected = any(metric.startswith(("prior.", "prior_uncalibrated.")) for metric in metrics) or any(
        name.endswith(prior.PRIOR) for name in methods(frame)
    )
    return lines + [prior.NOTES[frame.attrs.get("calibrated", True)]] * corrected


def _seed_notes(frame: pd.DataFrame, metric: str) -> list[str]:
    first = pd.DataFrame(frame.xs(metric, axis=1, level="metric")).swaplevel(axis=1)
    seeds, failed = (
        pd.DataFrame(first[name]).drop(columns=pairs.ALL_SETTINGS, errors="ignore") for name in ("seeds", "failed")
    )
    most = int(seeds.to_numpy().max())
    shown = frame.attrs.get("seeds") or pairs.counted(most, "seed")
    lines = [f"{shown}; accuracies in percent" + ", mean ±std over seeds" * (most > 1)]
    fewer = [
        f"{method} in {setting}: {count}" + f" ({lost} failed)" * bool(lost)
        for setting in seeds
        for method, count, lost in zip(methods(frame), seeds[setting], failed[setting], strict=True)
        if 0 < count < most
    ]
    if fewer:
        more = f"; and {len(fewer) - SHOWN} more" * (len(fewer) > SHOWN)
        lines.append("Fewer seeds: " + "; ".join(fewer[:SHOWN]) + more)
    return lines + best_notes(frame)


def best_notes(frame: pd.DataFrame) -> list[str]:
    """How the marks of the best were tested, over which family, and why there may be none."""
    seeds = pd.DataFrame(frame.xs("seeds", axis=1, level="statistic"))
    methods_run = int((seeds > 0).any(axis=1).sum())
    settings = sum(name not in (pairs.ALL_SETTINGS, PER_RUN) for name in frame.columns.unique("setting"))
    if methods_run < 2:
        return []
    within = seeds.drop(columns=pairs.ALL_SETTINGS, level="setting", errors="ignore")
    marks = frame.loc[:, frame.columns.get_level_values("statistic") == "mark"].to_numpy()
    marked = bool((marks == best.BEHIND).any())
    if not marked and (why := pairs.untestable(int(within.to_numpy().max()))):
        return [f"No method can be called the best; {why}"]
    family = f"all pairs of {methods_run} methods" + f" in {settings} settings and their mean" * (settings > 1)
    count = best.comparisons(methods_run, settings)
    return [
        f"Tested for each metric: {family} ({pairs.counted(count, 'comparison')}; max-T by sign flips, family-wise "
        "error 5 %)",
        "A column in which no method is marked as best or among the best has no significant difference",
    ]


def _difference_notes(frame: pd.DataFrame) -> list[str]:
    counts = pd.DataFrame(frame.xs("seeds", axis=1, level="statistic"))
    settings = frame.columns.unique("setting")
    most, tests = int(counts.to_numpy().max()), len(frame) * len(settings)
    mean = f"; {pairs.ALL_SETTINGS}: mean over settings" * (pairs.ALL_SETTINGS in settings)
    lines = [
        f"Differences to {frame.attrs['reference']} in percentage points (costs in their units), paired by setting and "
        f"seed{mean}",
    ]
    if why := pairs.untestable(most):
        return [*lines, f"No difference is tested; {why}; bootstrap intervals of {100 * reached(most):.3g} %"]
    tested = f"Tested for each metric: {pairs.counted(tests, 'comparison')} with {frame.attrs['reference']} (max-T by "
    return [*lines, f"{tested}sign flips, family-wise error 5 %); bootstrap intervals of {100 * reached(most):.3g} %"]


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
    # Lists: to select each number from a frame takes most of the time of a large table.
    values, in_percent = {str(name): statistics[name].tolist() for name in statistics}, pairs.is_accuracy(metric)
    means = values["mean"]
    if "seeds" not in values:
        return [Entry("-" if pd.isna(mean) else _number(mean, in_percent)) for mean in means]
    stds = values.get("std", [math.nan] * len(means))
    marks = (values.get(name, [None] * len(means)) for name in ("mark", "below_majority", "climbing"))
    excluded = best.BEHIND in values.get("mark", ())  # if none is, all would be marked
    entries = []
    for mean, std, seeds, failed, mark, is_below, climbs in zip(
        means, stds, values["seeds"], values["failed"], *marks, strict=True
    ):
        if pd.isna(mean):
            entries.append(Entry("n/a" if seeds else "failed" if failed else "-"))
        else:
            tied = bool(excluded and mark == best.AMONG_BEST)
            shown, spread = _number(mean, in_percent), _spread(std, in_percent)
            entries.append(Entry(shown, spread, mark == best.BEST, tied, is_below is True, climbs is True))
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
        significant = row["verdict"] in (pairs.BETTER, pairs.WORSE)
        entries.append(Entry(sign + _number(row["value"], in_percent), spread, significant))
    return entries
