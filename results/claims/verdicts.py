"""Comparisons and findings as text and JSON."""

import json
from collections.abc import Sequence
from textwrap import indent
from typing import Any

import pandas as pd

from fedprompt.results.claims.verification import Finding
from fedprompt.results.statistics.best import comparisons
from fedprompt.results.statistics.comparison import Comparison
from fedprompt.results.statistics.pairs import (
    ALL_SETTINGS,
    ALPHA,
    BETTER,
    UNTESTABLE,
    WORSE,
    counted,
    is_accuracy,
    untestable,
)


def as_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain objects, null for NaN."""
    return list(json.loads(frame.to_json(orient="records", double_precision=15)))


def comparison(found: Comparison) -> str:
    """One line per setting, then the family that p is adjusted for, and where a larger family has another verdict."""
    a, b, rows = found.a, found.b, found.rows
    shown = rows if len(rows) > 2 else rows[rows["setting"] != ALL_SETTINGS]
    scale = 100 if is_accuracy(found.metric) else 1
    width = max(len(setting) for setting in shown["setting"])
    lines = [f"{a} minus {b}, {found.metric}{', points' * (scale == 100)}; runs paired by setting and seed"]
    lines += [f"  {row['setting']:<{width}}  {_numbers(row, scale)}" for row in as_json(shown)]
    if found.improvement.n:
        won = found.improvement
        lines.append(
            f"  {a} is better in {won.value:.0%} of {counted(won.n, 'pair')} "
            f"(95 % exact interval {won.low:.0%} to {won.high:.0%})"
        )
    lines += _family(found, shown)
    if found.margin is not None:
        margin = f"{scale * found.margin:g}"
        lines.append(f"  margin: {margin}; better, worse: significant, and the whole interval beyond it; equal: inside")
    if why := untestable(int(rows["seeds"].max())):
        lines.append(f"  {why}")
    return "\n".join(lines)


def _family(found: Comparison, shown: pd.DataFrame) -> list[str]:
    """The comparisons that p is adjusted for, and the settings that are not significant in the families of tables."""
    settings, others = len(found.rows) - 1, found.methods - 1
    where = f"in {counted(settings, 'setting')}{' and in their mean' * (settings > 1)}; p adjusted by max-T"
    table = f"`bench table --metric {found.metric}"
    reference = f"{counted(others * len(shown), 'comparison')} of {table} --reference {found.b}`"
    larger = [
        (f"all pairs, the {counted(comparisons(found.methods, settings), 'comparison')} of {table}`", "p_all_pairs")
    ]
    if found.family == "all":
        lines = [f"  family: the {reference}: {counted(others, 'method')} minus {found.b} {where}"]
    else:
        lines = [f"  family: this pair, if it was chosen before the runs: {counted(len(shown), 'comparison')} {where}"]
        larger = [(f"the {reference} (--family all)", "p_reference"), *larger]
    significant = shown["verdict"].isin((BETTER, WORSE))
    for family, p in larger:
        in_table = shown[p] <= ALPHA
        for word, other in (("not significant", significant & ~in_table), ("significant", ~significant & in_table)):
            lines += [f"  {word} among {family}: {', '.join(shown.loc[other, 'setting'])}"] * bool(other.any())
    return lines


def clients(frame: pd.DataFrame, a: str, b: str) -> str:
    """The rows of `pairs.per_client`, one line per run, and their limit."""
    lines = [f"{a} minus {b}, accuracy of seen clients, points; clients paired within one run, one line per run"]
    for row in as_json(frame):
        lines.append(f"  {row['setting']} seed {row['seed']}: {_numbers(row, 100, 'client')}")
    family = f"  family: {counted(len(frame), 'run')}; p adjusted by max-T"
    lines.append(f"{family}; valid for these two trained models, not for other seeds")
    return "\n".join(lines)


def findings(found: Sequence[Finding]) -> str:
    """One paragraph per claim: verdict, wording, source and numbers; then, separately, other settings."""
    return "\n\n".join(_finding(finding) for finding in found)


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding with all its comparisons, as plain objects."""
    elsewhere = finding.elsewhere
    return {
        "id": finding.claim.id,
        "verdict": finding.verdict,
        "reason": finding.reason,
        "wording": finding.claim.wording,
        "source": finding.claim.source,
        "comparisons": as_json(finding.comparisons),
        "on_other_settings": elsewhere
        and {"would_be": elsewhere.verdict, "reason": elsewhere.reason, "comparisons": as_json(elsewhere.comparisons)},
    }


def published(frame: pd.DataFrame) -> str:
    """Published and measured numbers, one table per source, with the reason why they cannot be compared."""
    if frame.empty:
        return "none of the methods in these runs has a published number on record"
    parts = []
    for source, rows in frame.groupby("source", sort=False):
        lines = [f"{source}: {rows['protocol'].iloc[0]}", f"  comparable? {rows['comparable'].iloc[0]}"]
        for row in rows.to_dict("records"):
            alpha = "" if pd.isna(row["alpha"]) else f"({row['alpha']:g})"
            setting = f"{row['dataset']} {row['partition']}{alpha}"
            ours = f"{100 * row['measured']:.1f} ({counted(row['seeds'], 'run')})" if row["seeds"] else "not run"
            lines.append(f"  {row['method']:<16} {setting:<32} published {100 * row['published']:.1f}  measured {ours}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _numbers(row: dict[str, Any], scale: int, unit: str = "pair") -> str:
    if not row["n"]:
        return "no pair"
    interval = "" if pd.isna(row["low"]) else f" [{_signed(scale * row['low'])}, {_signed(scale * row['high'])}]"
    pairs = counted(row["n"], unit)
    if unit == "pair":
        pairs = counted(row["seeds"], "seed") if row["n"] == row["seeds"] else f"{pairs} of {row['seeds']} seeds"
    verdict = row["verdict"]
    if verdict == UNTESTABLE:
        tests = f"{pairs}: {verdict}"
    else:
        verdict = f"significantly {verdict}" if verdict in (BETTER, WORSE) else verdict
        tests = f"{pairs}, p = {row['p']:.2g}, adjusted {row['p_adjusted']:.2g}: {verdict}"
    margin = f"; against the margin: {row['practical']}" if "practical" in row else ""
    return f"{_signed(scale * row['value'])}{interval}  {tests}{margin}"


def _signed(value: float) -> str:
    """Three significant digits with a sign; a remainder of rounding is shown as +0."""
    return f"{round(value, 9) + 0.0:+.3g}"


def _finding(finding: Finding) -> str:
    claim, elsewhere = finding.claim, finding.elsewhere
    lines = [f"{claim.id}: {finding.verdict}", f"  {claim.wording}", f"  ({claim.source})", f"  {finding.reason}."]
    if elsewhere:
        settings = elsewhere.comparisons["setting"]
        names = ", ".join(dict.fromkeys(settings[settings != ALL_SETTINGS]))
        lines.append("  In other settings, which the claim does not cover and which do not affect the verdict:")
        lines.append(indent(f"on {names}: {elsewhere.reason}; the same rule gives: {elsewhere.verdict}.", "    "))
    return "\n".join(lines)
