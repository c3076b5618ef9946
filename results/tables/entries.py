"""Tables -> the strings that a reader sees, setting by setting, and the notes below them."""

import math
from typing import NamedTuple

import pandas as pd

from fedprompt.results.statistics.inference import LEVEL, least_p
from fedprompt.results.statistics.pairs import ALL_SETTINGS, ALPHA, UNRESOLVED, lower_is_better, reach

PER_RUN = "per run"
PRIOR_NOTES = [
    "+prior: logits + log of the client's class prior, classes absent at the client masked",
    "+prior of a training-free head, whose scores are no log-odds: the masking alone",
]
NAMES = {"bottom_decile": "bottom 10%", "upload_mb": "MB up", "download_mb": "MB down", "seconds": "s/run"}
WORDS = {"-": "-: not run", "failed": "failed: every run failed", "n/a": "n/a: does not apply"}
SHOWN = 6


class Entry(NamedTuple):
    """One place of the table: a number or a word, its spread, whether it is set off, whether it may equal the best."""

    value: str
    spread: str = ""
    best: bool = False
    open: bool = False


class Block(NamedTuple):
    """The columns of one setting."""

    setting: str
    headings: list[str]
    columns: list[list[Entry]]


def heading(metric: str) -> str:
    """A metric's name as a column heading: `held_out.mean` is `held-out`, `prior.seen.mean` is `mean+prior`."""
    prior = metric.startswith("prior.")
    split, _, measure = metric.removeprefix("prior.").rpartition(".")
    name = NAMES.get(measure, measure)
    if split not in ("", "seen"):
        group = split.replace("held_out_unlabelled", "unlabelled").replace("held_out_adapted", "adapted")
        group = group.replace("_", "-")
        name = group if measure == "mean" else f"{group} {name}"
    return name + "+prior" * prior


def is_difference(frame: pd.DataFrame) -> bool:
    """Whether the table holds differences to a reference, and no means."""
    return "verdict" in frame.columns.unique("statistic")


def methods(frame: pd.DataFrame) -> list[str]:
    """The rows' names."""
    return [str(name) for name in frame.index.get_level_values("method")]


def families(frame: pd.DataFrame) -> list[str]:
    """For every row the family that begins there, empty where none does."""
    if frame.index.nlevels == 1:
        return [""] * len(frame)
    names = [str(name) or "no family named" for name in frame.index.get_level_values("family")]
    return [name if row == 0 or names[row - 1] != name else "" for row, name in enumerate(names)]


def blocks(frame: pd.DataFrame) -> list[Block]:
    """The table as strings, setting by setting; the costs are the last block."""
    column = _difference_column if is_difference(frame) else _column
    found = []
    for setting in frame.columns.unique("setting"):
        metrics = list(frame[setting].columns.unique("metric"))
        columns = [column(frame[setting][metric], metric) for metric in metrics]
        found.append(Block(setting, [heading(metric) for metric in metrics], columns))
    return found


def legend(frame: pd.DataFrame, best: str, open_: str) -> list[str]:
    """What the marks mean, those that the table shows; `best` and `open_` are their signs."""
    if is_difference(frame):
        return [f"{best}: resolved from {frame.attrs['reference']}, one way or the other"]
    shown = any(entry.open for block in blocks(frame) for column in block.columns for entry in column)
    return [f"{best}: best of its column"] + [f"{open_}: not resolved from it"] * shown


def notes(frame: pd.DataFrame) -> list[str]:
    """What a reader must know: how many seeds, what they can resolve, what the words and headings mean."""
    metrics = frame.columns.unique("metric")
    lines = _difference_notes(frame) if is_difference(frame) else _seed_notes(frame, metrics[0])
    meanings = WORDS | {"n/a": "n/a: no pair to compare"} if is_difference(frame) else WORDS
    words = {entry.value for block in blocks(frame) for column in block.columns for entry in column}
    lines += ["; ".join(meaning for word, meaning in meanings.items() if word in words)] * bool(words & set(WORDS))
    lines += tuning_notes(frame)
    corrected = any(metric.startswith("prior.") for metric in metrics) or any(
        name.endswith("+prior") for name in methods(frame)
    )
    return lines + PRIOR_NOTES * corrected


def _seed_notes(frame: pd.DataFrame, metric: str) -> list[str]:
    first = pd.DataFrame(frame.xs(metric, axis=1, level="metric")).swaplevel(axis=1)
    seeds, failed = (
        pd.DataFrame(first[name]).drop(columns=ALL_SETTINGS, errors="ignore") for name in ("seeds", "failed")
    )
    most = int(seeds.to_numpy().max())
    lines = [f"{most} seed{'s' * (most != 1)}; accuracies in percent" + ", mean ±std over seeds" * (most > 1)]
    fewer = [
        f"{method} in {setting}: {count}" + f" ({lost} failed)" * bool(lost)
        for setting in seeds
        for method, count, lost in zip(methods(frame), seeds[setting], failed[setting], strict=True)
        if 0 < count < most
    ]
    if fewer:
        lines.append(
            "Fewer seeds: " + "; ".join(fewer[:SHOWN]) + f"; and {len(fewer) - SHOWN} more" * (len(fewer) > SHOWN)
        )
    if most > 1 and len(frame) > 1 and (why := reach(most, len(frame) - 1)):
        lines.append(f"Within a setting no method is resolved from the best: {why}")
    return lines


def _difference_notes(frame: pd.DataFrame) -> list[str]:
    settings = frame.columns.unique("setting")
    counts = pd.DataFrame(frame.xs("n", axis=1, level="statistic"))
    within = counts.drop(columns=ALL_SETTINGS, level="setting", errors="ignore")
    metrics = len(frame.columns.unique("metric"))
    most, tests = int(within.to_numpy().max()), within.size // metrics
    lines = [
        f"Differences to {frame.attrs['reference']} in points (costs as they are), paired by setting and seed; sign "
        f"flips, Holm over the {tests} comparisons of a metric; bootstrap intervals of {_percent(most)}"
    ]
    if most and (why := reach(most, tests)):
        lines.append(f"Within a setting nothing is resolved: {why}")
    if ALL_SETTINGS in settings:
        pairs = int(counts[ALL_SETTINGS].to_numpy().max())
        lines.append(
            f"{ALL_SETTINGS}: mean over settings, Holm over {len(frame)} methods, each setting-and-seed a pair"
        )
        if pairs and (why := reach(pairs, len(frame), "pair")):
            lines.append(f"Over all settings nothing is resolved: {why}")
    return lines


def _percent(seeds: int) -> str:
    """The coverage that an interval of so many seeds can reach."""
    return f"{100 * min(LEVEL, 1 - least_p(seeds)):.3g} %"


def _is_share(metric: str) -> bool:
    return "." in metric and not metric.endswith(".clients")


def _number(value: float, share: bool) -> str:
    """Shares in percent with one digit, everything else with three significant ones."""
    return f"{100 * value:.1f}" if share else f"{value:#.3g}" if abs(value) < 100 else f"{value:.0f}"


def tuning_notes(frame: pd.DataFrame) -> list[str]:
    """Which rows have settings chosen on validation samples, after how many trials, and which have not; or nothing."""
    trials: dict[str, int] = frame.attrs.get("trials", {})
    if not trials:
        return []
    by_count: dict[int, list[str]] = {}
    for method in methods(frame):
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
    means, share = statistics["mean"], _is_share(metric)
    if "seeds" not in statistics:
        return [Entry("-" if pd.isna(mean) else _number(mean, share)) for mean in means]
    best = means.min() if lower_is_better(metric) else means.max()
    # Where no p can reach the level every entry would be marked: a note says so once.
    resolvable = any(statistics["p_best"] <= ALPHA) or not reach(
        int(statistics["seeds"].max()), max(1, int(statistics["p_best"].notna().sum()))
    )
    entries = []
    for row in statistics.to_dict("records"):
        if pd.isna(row["mean"]):
            entries.append(Entry("n/a" if row["seeds"] else "failed" if row["failed"] else "-"))
        else:
            first = math.isclose(row["mean"], best)
            tied = resolvable and not first and row["p_best"] > ALPHA
            spread = _spread(row.get("std", math.nan), share)
            entries.append(Entry(_number(row["mean"], share), spread, first, bool(tied)))
    return entries


def _spread(std: float, share: bool) -> str:
    if pd.isna(std):
        return ""
    if not share:
        return f"±{std:.2g}"
    return f"±{100 * std:.1f}" if 100 * std < 9.95 else f"±{100 * std:.0f}"


def _difference_column(statistics: pd.DataFrame, metric: str) -> list[Entry]:
    share, entries = _is_share(metric), []
    for row in statistics.to_dict("records"):
        if not row["n"] or pd.isna(row["value"]):
            entries.append(Entry("n/a"))
            continue
        low, high = (_number(row[bound], share) for bound in ("low", "high"))
        spread = "" if pd.isna(row["low"]) else f"[{low}, {high}]"
        sign = "+" * (row["value"] > 0)
        entries.append(Entry(sign + _number(row["value"], share), spread, row["verdict"] != UNRESOLVED))
    return entries
